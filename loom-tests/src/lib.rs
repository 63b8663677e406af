//! Models live in `tests/`; run them with `cargo model`.
