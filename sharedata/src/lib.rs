//! Frozen tables that many states read and nobody copies.
