//! Dense products by cuBLASLt.
#![allow(unsafe_code)]

use super::guard::one_line;
use super::memory::{Memory, Shared, allocate};
use super::owned::Owned;
use crate::backend::cuda::device::{ByColumns, DeviceError, Precision, Product};
use cudarc::cublaslt::{result as lt, sys as lt_sys};
use std::ffi::c_void;
use std::rc::Rc;

/// Bytes that cuBLASLt may use.
pub const WORKSPACE: usize = 32 << 20;

/// The library with its workspace.
pub struct Products {
    library: lt_sys::cublasLtHandle_t,
    workspace: Memory,
}

impl Products {
    /// On a device that is current in this thread.
    pub fn new(shared: &Rc<Shared>) -> Result<Self, DeviceError> {
        let library = lt::create_handle().map_err(wrong)?;
        let workspace = allocate(shared, WORKSPACE).inspect_err(|_| {
            // SAFETY: it was just created.
            let _ = unsafe { lt::destroy_handle(library) };
        })?;
        Ok(Self { library, workspace })
    }
}

impl Drop for Products {
    fn drop(&mut self) {
        // SAFETY: the handle was created once and nothing uses it afterwards.
        let _ = unsafe { lt::destroy_handle(self.library) };
    }
}

fn wrong(error: lt::CublasError) -> DeviceError {
    DeviceError::Failed { what: "cuBLASLt".to_owned(), reason: one_line(&format!("{error:?}")) }
}

/// The version of cuBLASLt, as it counts.
pub fn version() -> usize {
    // SAFETY: it returns a number.
    unsafe { lt_sys::cublasLtGetVersion() }
}

impl Products {
    /// cuBLASLt stores matrices by columns.
    pub fn multiply(&self, shared: &Shared, product: &Product<'_, Memory>) -> Result<(), DeviceError> {
        use lt_sys::{
            cublasComputeType_t as Compute, cublasLtMatmulDescAttributes_t as Attribute,
            cublasLtMatmulPreferenceAttributes_t as Preference, cudaDataType as Data,
        };
        let (compute, data) = match product.precision {
            Precision::F32 => (Compute::CUBLAS_COMPUTE_32F_PEDANTIC, Data::CUDA_R_32F),
            Precision::Tf32 => (Compute::CUBLAS_COMPUTE_32F_FAST_TF32, Data::CUDA_R_32F),
            Precision::Bf16 => (Compute::CUBLAS_COMPUTE_32F, Data::CUDA_R_16BF),
        };
        // CUBLAS_OP_N and CUBLAS_OP_T.
        let [of_b, of_a, _] = product.by_columns().map(|matrix| u32::from(matrix.transposed));
        let layout = |data, matrix: ByColumns| {
            lt::create_matrix_layout(data, matrix.rows as u64, matrix.columns as u64, matrix.stride as i64)
                .map(|layout| Owned(layout, lt::destroy_matrix_layout))
                .map_err(wrong)
        };
        let [b, a, c] = product.by_columns();
        let (b, a, c) = (layout(data, b)?, layout(data, a)?, layout(Data::CUDA_R_32F, c)?);
        let task = Owned(lt::create_matmul_desc(compute, Data::CUDA_R_32F).map_err(wrong)?, lt::destroy_matmul_desc);
        let preference = Owned(lt::create_matmul_pref().map_err(wrong)?, lt::destroy_matmul_pref);
        let (one, zero) = (1.0_f32, 0.0_f32);
        // SAFETY: all handles live until the end; attributes point to values of the sizes given; the matrices are as long as their layouts say,
        // which the checked layer has compared; everything runs on one stream, which owns the memory.
        unsafe {
            for (which, operation) in
                [(Attribute::CUBLASLT_MATMUL_DESC_TRANSA, of_b), (Attribute::CUBLASLT_MATMUL_DESC_TRANSB, of_a)]
            {
                let at = std::ptr::from_ref(&operation).cast();
                lt::set_matmul_desc_attribute(task.0, which, at, size_of_val(&operation)).map_err(wrong)?;
            }
            let (which, room) = (Preference::CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, WORKSPACE);
            let at = std::ptr::from_ref(&room).cast();
            lt::set_matmul_pref_attribute(preference.0, which, at, size_of_val(&room)).map_err(wrong)?;
            // The same sizes find the same algorithm, so that a product has the same bits every time.
            let best =
                lt::get_matmul_algo_heuristic(self.library, task.0, b.0, a.0, c.0, c.0, preference.0).map_err(wrong)?;
            lt::matmul(
                self.library,
                task.0,
                std::ptr::from_ref(&one).cast(),
                std::ptr::from_ref(&zero).cast(),
                product.b.0.address() as *const c_void,
                b.0,
                product.a.0.address() as *const c_void,
                a.0,
                product.c.address() as *const c_void,
                c.0,
                product.c.address() as *mut c_void,
                c.0,
                &best.algo,
                self.workspace.address() as *mut c_void,
                WORKSPACE,
                shared.stream() as lt_sys::cudaStream_t,
            )
            .map_err(wrong)
        }
    }
}
