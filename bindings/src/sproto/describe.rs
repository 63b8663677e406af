//! What a schema says to people and to editors: a dump of it, and tables of default values.

use std::ffi::c_int;
use std::fmt::{self, Write as _};
use std::io::Write as _;

use super::schema::{Answer, Field, Kind, Schema, Shape, Type};
use crate::raw::{ffi, lua_State};

/// Writes a schema to standard output.
pub(super) fn print(schema: &Schema) {
    let mut text = String::new();
    // Nothing fails in a String, and who closed the output does not want it.
    let _ = write(schema, &mut text);
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn write(schema: &Schema, out: &mut String) -> fmt::Result {
    writeln!(out, "=== {} types ===", schema.types.len())?;
    for ty in &schema.types {
        writeln!(out, "{}", ty.name.to_string_lossy())?;
        for field in &ty.fields {
            write_field(schema, field, out)?;
        }
    }
    writeln!(out, "=== {} protocol ===", schema.protocols.len())?;
    for protocol in &schema.protocols {
        let name = |index: u16| schema.types[usize::from(index)].name.to_string_lossy();
        write!(out, "\t{} ({})", protocol.name.to_string_lossy(), protocol.tag)?;
        match protocol.request {
            Some(index) => write!(out, " request:{}", name(index))?,
            None => write!(out, " request:(null)")?,
        }
        match protocol.answer {
            Answer::Struct(index) => write!(out, " response:{}", name(index))?,
            Answer::Empty => write!(out, " response nil")?,
            Answer::None => {}
        }
        writeln!(out)?;
    }
    Ok(())
}

fn write_field(schema: &Schema, field: &Field, out: &mut String) -> fmt::Result {
    let array = if field.shape == Shape::One { "" } else { "*" };
    write!(out, "\t{} ({}) {array}", field.name.to_string_lossy(), field.tag)?;
    match field.kind {
        Kind::Integer => write!(out, "integer")?,
        Kind::Decimal(digits) => write!(out, "decimal({})", 10f64.powi(digits as i32))?,
        Kind::Boolean => write!(out, "boolean")?,
        Kind::String => write!(out, "string")?,
        Kind::Binary => write!(out, "binary")?,
        Kind::Double => write!(out, "double")?,
        Kind::Struct(index) => write!(out, "{}", schema.types[usize::from(index)].name.to_string_lossy())?,
    }
    match field.shape {
        Shape::One | Shape::Array => {}
        Shape::Indexed(_) => write!(out, " key[{}]", field.key_tag)?,
        Shape::Map(..) => write!(out, " key[{}] value[{}]", field.key_tag, field.value_tag)?,
    }
    writeln!(out)
}

/// Pushes a table with a value for each field of `ty`.
///
/// # Safety
/// `state` runs a C function with ten free slots, and nothing with a destructor is alive.
pub(super) unsafe fn push_default(state: *mut lua_State, schema: &Schema, ty: &Type) {
    // SAFETY: by the caller's promise; names end in a NUL.
    unsafe {
        ffi::lua_createtable(state, 0, ty.fields.len() as c_int);
        for field in &ty.fields {
            let is_array = field.shape != Shape::One;
            if is_array {
                ffi::lua_createtable(state, 0, 1);
            }
            match field.kind {
                Kind::Integer => ffi::lua_pushinteger(state, 0),
                Kind::Decimal(_) | Kind::Double => ffi::lua_pushnumber(state, 0.0),
                Kind::Boolean => ffi::lua_pushboolean(state, 0),
                Kind::String | Kind::Binary => _ = ffi::lua_pushstring(state, c"".as_ptr()),
                Kind::Struct(index) => {
                    let name = schema.types[usize::from(index)].name.as_ptr();
                    if !is_array {
                        ffi::lua_createtable(state, 0, 1);
                    }
                    ffi::lua_pushstring(state, name);
                    if !is_array {
                        ffi::lua_setfield(state, -2, c"__type".as_ptr());
                    }
                }
            }
            if is_array {
                ffi::lua_setfield(state, -2, c"__array".as_ptr());
            }
            ffi::lua_setfield(state, -2, field.name.as_ptr());
        }
    }
}
