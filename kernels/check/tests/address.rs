//! AddressSanitizer notices a write outside of an array.
#![cfg(feature = "address")]

mod common;

use common::first_of_row;
use sdlab_kernels::backend::cuda::checked::Checked;
use sdlab_kernels::shim::Shim;
use std::process::Command;

/// Set in the process that writes outside, and does not survive it.
const VICTIM: &str = "SDLAB_WRITES_OUTSIDE";

/// All entries of the only row, so that the last one is the end of the array.
fn selects(prefix: &'static str) -> Result<Vec<Vec<u32>>, String> {
    first_of_row(&Checked::new(Shim::with_fault(64, 1, prefix)), &[3.0, 1.0, 2.0, 5.0, 4.0], 5, 5, false)
}

#[test]
fn a_write_outside_of_an_array_is_noticed() {
    if std::env::var_os(VICTIM).is_some() {
        let _ = selects("out-of-bounds/");
        return;
    }
    assert_eq!(selects(""), Ok(vec![vec![0, 1, 2, 3, 4]]));
    let own = std::env::current_exe().expect("this program");
    let run = Command::new(own).env(VICTIM, "1").output().expect("another process");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success(), "it went through");
    assert!(said.contains("AddressSanitizer: heap-buffer-overflow") && said.contains("WRITE of size 4"), "{said}");
    assert!(said.contains("first_of_row"), "the kernel is named: {said}");
}
