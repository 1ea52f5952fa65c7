//! Kernels as machine code for the device: from NVRTC, or as they were kept.
#![allow(unsafe_code)]

use super::guard::{failed, guarded, one_line, present};
use crate::backend::cuda::device::DeviceError;
use crate::backend::cuda::kernels::{signatures, source};
use cudarc::driver::{result as cu, sys as cu_sys};
use cudarc::nvrtc::{result as nvrtc, sys as nvrtc_sys};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::PathBuf;

/// Contraction would change bits.
const OPTIONS: [&str; 2] = ["--std=c++17", "--fmad=false"];

/// Whether the compiler was found.
pub(super) fn compiler() -> Result<(), DeviceError> {
    // SAFETY: it only tries to open the library.
    let found = unsafe { nvrtc_sys::is_culib_present() };
    present(found, "the compiler of kernels (libnvrtc)", "the CUDA toolkit 12.0 or later, or its nvrtc library")
}

/// Major and minor version of the compiler.
pub(super) fn version() -> Result<(u32, u32), DeviceError> {
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the compiler writes two numbers.
    let status = unsafe { nvrtc_sys::nvrtcVersion(&mut major, &mut minor) };
    status.result().map_err(|error| DeviceError::Build { reason: format!("{error:?}") })?;
    Ok((major.unsigned_abs(), minor.unsigned_abs()))
}

/// Major and minor of the architecture.
pub(super) fn architecture(device: cu_sys::CUdevice) -> Result<(i32, i32), DeviceError> {
    use cu_sys::CUdevice_attribute::{
        CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
    };
    // SAFETY: the device exists.
    let get = |which| unsafe { cu::device::get_attribute(device, which) }.map_err(failed("architecture"));
    Ok((get(MAJOR)?, get(MINOR)?))
}

/// Where built kernels are kept, by what they were built from.
fn cached(options: &[String], text: &str) -> Option<PathBuf> {
    let home = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache")))?;
    let digest = Sha256::new().chain_update(options.join(" ")).chain_update([0]).chain_update(text).finalize();
    let name: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Some(home.join("sdlab").join(format!("{name}.cubin")))
}

/// Built kernels that were kept, if they are whole: the driver would believe what a damaged file says of its own length.
fn kept(place: &PathBuf) -> Option<Vec<u8>> {
    let mut image = std::fs::read(place).ok()?;
    let digest = image.split_off(image.len().checked_sub(32)?);
    (Sha256::digest(&image).as_slice() == digest).then_some(image)
}

/// The kernels for the device's own architecture, from the cache or the compiler.
pub(super) fn load(
    (major, minor): (i32, i32),
    (newest, of_newest): (u32, u32),
) -> Result<BTreeMap<String, cu_sys::CUfunction>, DeviceError> {
    let options = options(&format!("sm_{major}{minor}"));
    let text = source();
    // Another compiler may build something else.
    let place = cached(&[options.clone(), vec![format!("nvrtc {newest}.{of_newest}")]].concat(), &text);
    if let Some(image) = place.as_ref().and_then(kept)
        && let Ok(kernels) = functions(&image)
    {
        return Ok(kernels);
    }
    let image = build(&text, &options)?;
    let kernels = functions(&image)?;
    // A cache that cannot be written costs time at the next start, nothing else.
    if let Some(place) = place
        && let Some(folder) = place.parent()
        && std::fs::create_dir_all(folder).is_ok()
    {
        let new = place.with_extension(format!("{}.tmp", std::process::id()));
        let whole = [image.as_slice(), Sha256::digest(&image).as_slice()].concat();
        if std::fs::write(&new, whole).and_then(|()| std::fs::rename(&new, &place)).is_err() {
            let _ = std::fs::remove_file(&new);
        }
    }
    Ok(kernels)
}

/// The kernels as machine code, by NVRTC.
///
/// # Errors
/// The compiler is missing, or refuses the text or an option.
pub fn build(text: &str, options: &[String]) -> Result<Vec<u8>, DeviceError> {
    compiler()?;
    guarded("the compiler of kernels", || compile(text, options))
}

/// What the kernels are compiled with for an architecture such as `sm_90`.
pub fn options(architecture: &str) -> Vec<String> {
    let mut options: Vec<String> = OPTIONS.iter().map(|option| (*option).to_owned()).collect();
    options.push(format!("--gpu-architecture={architecture}"));
    options
}

fn compile(text: &str, options: &[String]) -> Result<Vec<u8>, DeviceError> {
    let refused = |reason: String| DeviceError::Build { reason };
    let text = CString::new(text).map_err(|error| refused(error.to_string()))?;
    let program = nvrtc::create_program(&text, Some(c"sdlab.cu")).map_err(|error| refused(format!("{error:?}")))?;
    // SAFETY: the program was just created, and is destroyed once, at the end; the text lives until then.
    unsafe {
        let built = nvrtc::compile_program(program, options).map_err(|error| {
            let log = nvrtc::get_program_log(program).unwrap_or_default();
            let log: Vec<u8> = log.into_iter().map(|c| c as u8).take_while(|c| *c != 0).collect();
            refused(one_line(&format!("{error:?}: {}", String::from_utf8_lossy(&log))))
        });
        let image = built.and_then(|()| {
            let mut size = 0;
            let status = nvrtc_sys::nvrtcGetCUBINSize(program, &mut size);
            let mut image = vec![0_u8; size];
            status.result().map_err(|error| refused(format!("{error:?}")))?;
            let status = nvrtc_sys::nvrtcGetCUBIN(program, image.as_mut_ptr().cast());
            status.result().map_err(|error| refused(format!("{error:?}")))?;
            Ok(image)
        });
        let _ = nvrtc::destroy_program(program);
        image
    }
}

fn functions(image: &[u8]) -> Result<BTreeMap<String, cu_sys::CUfunction>, DeviceError> {
    // SAFETY: a cubin of the compiler, which says how long it is; the driver copies it. The module is never unloaded.
    let module = unsafe { cu::module::load_data(image.as_ptr().cast()) }.map_err(failed("loading the kernels"))?;
    let get = |name: String| {
        let c_name = CString::new(name.as_str()).unwrap_or_default();
        // SAFETY: the module is loaded.
        let function = unsafe { cu::module::get_function(module, c_name) }.map_err(failed(&name))?;
        Ok((name, function))
    };
    signatures().into_keys().map(get).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_of_kernels_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("x.cubin");
        let image = b"machine code".to_vec();
        std::fs::write(&place, [image.as_slice(), Sha256::digest(&image).as_slice()].concat()).unwrap();
        assert_eq!(kept(&place), Some(image.clone()));
        for damaged in [&image[..5], &[], &[0; 40]] {
            std::fs::write(&place, damaged).unwrap();
            assert_eq!(kept(&place), None);
        }
        assert_eq!(kept(&folder.path().join("absent")), None);
    }

    #[test]
    fn built_kernels_are_kept_by_what_they_were_built_from() {
        let of = |option: &str, text: &str| cached(&[option.to_owned()], text);
        if let (Some(a), Some(b), Some(c)) = (of("x", "text"), of("y", "text"), of("x", "text ")) {
            assert!(a != b && a != c && b != c);
            assert_eq!(of("x", "text"), Some(a));
        }
    }
}
