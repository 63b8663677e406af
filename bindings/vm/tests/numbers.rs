//! Integers as text.

mod common;

use common::{run, state};

#[test]
fn integers_are_written_as_by_the_c_library() {
    let state = state();
    run(
        &state,
        r#"
        local function check(n)
            local expected = string.format("%d", n)
            assert(tostring(n) == expected and n .. "" == expected and ("x" .. n .. "y") == "x" .. expected .. "y", expected)
            assert(math.tointeger(expected) == n and #tostring(n) == #expected)
        end
        for _, n in ipairs { 0, -1, 9, 10, -10, 99, 100, math.maxinteger, math.mininteger, math.mininteger + 1 } do check(n) end
        for bits = 0, 62 do
            for _, near in ipairs { -1, 0, 1 } do
                check((1 << bits) + near)
                check(-(1 << bits) + near)
            end
        end
        for _ = 1, 10000 do check(math.random(0) >> math.random(0, 63)) end
        "#,
    )
    .unwrap();
}
