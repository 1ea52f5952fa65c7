//! AddressSanitizer notices a write outside of an array.
#![cfg(feature = "address")]

use sdlab_kernels::backend::cuda::checked::{Array, Checked};
use sdlab_kernels::shim::Shim;
use std::process::Command;

/// The first 5 of 5 entries of the only row, so that the last one is the end of the array.
fn selects(prefix: &'static str) -> Vec<u32> {
    let device = Checked::new(Shim::with_fault(64, 1, prefix));
    let (n, n_word) = (5, 5_u32);
    let (scores, bias) = (device.array(&[3.0_f32, 1.0, 2.0, 5.0, 4.0]), device.zeros::<f32>(n));
    let (idle, marks) = (device.zeros::<u64>(n), device.zeros::<u32>(1));
    let (counts, latents, values): (Array<_, u32>, Array<_, u32>, Array<_, f32>) =
        (device.zeros(1), device.zeros(n), device.zeros(n));
    let arguments = [
        scores.all(),
        bias.all(),
        idle.all(),
        false.into(),
        0_u64.into(),
        marks.of(0),
        false.into(),
        n_word.into(),
        false.into(),
        n_word.into(),
        counts.all(),
        latents.all(),
        values.all(),
        n_word.into(),
    ];
    device.launch("first_of_row", [1, 1, 1], arguments);
    assert_eq!(device.failure(), None);
    device.download(&latents, n)
}

/// Run by the test below, in a process of its own, which does not survive it.
#[test]
#[ignore = "writes outside of an array"]
fn writes_outside() {
    selects("out-of-bounds/");
}

#[test]
fn a_write_outside_of_an_array_is_noticed() {
    assert_eq!(selects(""), [0, 1, 2, 3, 4]);
    let own = std::env::current_exe().expect("this program");
    let run = Command::new(own).args(["--exact", "writes_outside", "--ignored"]).output().expect("another process");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success(), "it went through");
    assert!(said.contains("AddressSanitizer: heap-buffer-overflow") && said.contains("WRITE of size 4"), "{said}");
    assert!(said.contains("first_of_row"), "the kernel is named: {said}");
}
