//! What several tests do with the stand-in.

use sdlab_kernels::backend::cuda::checked::{Array, Checked};
use sdlab_kernels::shim::Shim;

/// Rows of values in, rows of the first k out, or what the device says instead. There is room for all, so that a faulty kernel writes nowhere else.
pub fn first_of_row(
    device: &Checked<Shim>,
    values: &[f32],
    n: usize,
    k: usize,
    positive: bool,
) -> Result<Vec<Vec<u32>>, String> {
    let rows = values.len() / n;
    let (s, bias) = (device.array(values), device.zeros::<f32>(n));
    let (idle, marks) = (device.zeros::<u64>(n), device.zeros::<u32>(1));
    let (counts, latents, found): (Array<_, u32>, Array<_, u32>, Array<_, f32>) =
        (device.zeros(rows), device.zeros(rows * n), device.zeros(rows * n));
    let arguments = [
        s.all(),
        bias.all(),
        idle.all(),
        false.into(),
        0_u64.into(),
        marks.of(0),
        false.into(),
        (k as u32).into(),
        positive.into(),
        (n as u32).into(),
        counts.all(),
        latents.all(),
        found.all(),
        (n as u32).into(),
    ];
    device.launch("first_of_row", [rows as u32, 1, 1], arguments);
    if let Some(failure) = device.failure() {
        return Err(failure.to_string());
    }
    let (counts, latents) = (device.download(&counts, rows), device.download(&latents, rows * n));
    Ok(counts.iter().enumerate().map(|(row, count)| latents[row * n..][..*count as usize].to_vec()).collect())
}
