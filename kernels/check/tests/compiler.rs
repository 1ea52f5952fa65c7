//! The compiler that a device would use builds all kernels, where it is installed; it needs no device.

use sdlab_kernels::backend::cuda::kernels::{signatures, source};
use sdlab_kernels::backend::cuda::raw::{build, options};

#[test]
fn the_kernels_are_built_by_nvrtc_and_an_error_is_one_line() {
    let built = build(&source(), &options("sm_90"));
    // Where it must be there, that is an error too.
    if std::env::var_os("SDLAB_NEEDS_NVRTC").is_none()
        && let Err(error) = &built
        && error.to_string().contains("libnvrtc")
    {
        println!("{error}: not checked");
        return;
    }
    let image = built.expect("machine code");
    for name in signatures().into_keys() {
        assert!(image.windows(name.len()).any(|bytes| bytes == name.as_bytes()), "{name}");
    }
    let refused = build("KERNEL(x) {", &options("sm_90")).unwrap_err().to_string();
    assert!(refused.starts_with("the kernels cannot be built") && !refused.contains('\n'), "{refused}");
}
