//! What benches share.

/// The middle one of some times.
pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// The processor's name as the system tells it, else the architecture.
pub fn machine() -> String {
    sdlab::io::origin::processor().unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}
