//! Services, mailboxes, workers and timers, without Lua.
