//! Payload blocks in mapped memory: who may use which bytes, until when.
