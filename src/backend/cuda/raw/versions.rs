//! Which versions of the driver and of the libraries go together.

use crate::backend::cuda::device::DeviceError;

/// The least version of each, as CUDA counts.
const LEAST: (u32, u32) = (12, 0);

/// Versions of CUDA: major and minor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Versions {
    /// The newest that the driver serves.
    pub driver: (u32, u32),
    /// Of the compiler of kernels.
    pub compiler: (u32, u32),
    /// Of cuBLASLt.
    pub products: (u32, u32),
}

/// A version in thousands and tens, as the driver says it.
pub fn of_driver(version: i32) -> (u32, u32) {
    let version = version.unsigned_abs();
    (version / 1000, version % 1000 / 10)
}

/// A version in ten thousands and hundreds, as cuBLASLt says it.
pub fn of_products(version: usize) -> (u32, u32) {
    let part = |x: usize| u32::try_from(x).unwrap_or(u32::MAX);
    (part(version / 10_000), part(version % 10_000 / 100))
}

fn shown((major, minor): (u32, u32)) -> String {
    format!("{major}.{minor}")
}

fn wrong(what: &str, reason: String) -> DeviceError {
    DeviceError::Failed { what: what.to_owned(), reason }
}

impl Versions {
    /// Whether all are new enough, and the driver serves the libraries: it serves those of its own major version, whatever their minor one, since
    /// kernels are built to machine code, and those of earlier ones.
    ///
    /// # Errors
    /// What to install.
    pub fn check(&self) -> Result<(), DeviceError> {
        let old = |found, what: &str| format!("it is {what} {}, 12.0 is needed: install a newer one", shown(found));
        if self.driver < LEAST {
            return Err(wrong("the CUDA driver", old(self.driver, "for CUDA")));
        }
        if self.compiler < LEAST {
            let reason = format!("the compiler (libnvrtc) is version {}", shown(self.compiler));
            return Err(DeviceError::Build { reason });
        }
        if self.products < LEAST {
            return Err(wrong("cuBLASLt", old(self.products, "version")));
        }
        let libraries = [("the compiler of kernels (libnvrtc)", self.compiler), ("cuBLASLt", self.products)];
        let Some((library, found)) = libraries.into_iter().find(|(_, found)| found.0 > self.driver.0) else {
            return Ok(());
        };
        let (driver, of, major, own) = (shown(self.driver), shown(found), found.0, self.driver.0);
        let reason = format!(
            "it serves CUDA {driver}, and {library} is of CUDA {of}: install a driver for CUDA {major}.0 or later, or the libraries of CUDA {own}"
        );
        Err(wrong("the CUDA driver", reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(driver: i32, compiler: (u32, u32), products: usize) -> Result<(), String> {
        let versions = Versions { driver: of_driver(driver), compiler, products: of_products(products) };
        versions.check().map_err(|error| error.to_string())
    }

    #[test]
    fn a_driver_serves_the_libraries_of_its_own_major_version_and_of_earlier_ones() {
        for (driver, compiler, products) in [
            (12_000, (12, 0), 120_000),
            (12_020, (12, 9), 120_904),
            (13_000, (13, 2), 130_100),
            (13_000, (12, 8), 120_803),
            (13_000, (12, 8), 130_000),
        ] {
            assert_eq!(check(driver, compiler, products), Ok(()), "{driver} {compiler:?} {products}");
        }
        let refused = |driver, compiler, products| check(driver, compiler, products).unwrap_err();
        assert_eq!(
            refused(12_080, (13, 0), 130_000),
            "the CUDA driver: it serves CUDA 12.8, and the compiler of kernels (libnvrtc) is of CUDA 13.0: install a driver for CUDA 13.0 or later, or the \
             libraries of CUDA 12"
        );
        assert!(
            refused(12_080, (12, 8), 130_002).contains("and cuBLASLt is of CUDA 13.0: install a driver for CUDA 13.0")
        );
        assert!(refused(11_080, (12, 0), 120_000).starts_with("the CUDA driver: it is for CUDA 11.8, 12.0 is needed"));
        assert!(refused(12_000, (11, 8), 120_000).contains("the compiler (libnvrtc) is version 11.8"));
        assert!(refused(12_000, (12, 0), 110_501).starts_with("cuBLASLt: it is version 11.5, 12.0 is needed"));
    }
}
