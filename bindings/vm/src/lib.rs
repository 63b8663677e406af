//! The Lua virtual machine.
