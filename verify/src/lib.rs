//! Exact checker of sdlab certificates: see `FORMAT.md`.
