//! Plain loops for the widest vectors that the processor has: compiled twice, once for the instructions that every processor of the target
//! has, once with AVX2, and chosen at run time.

#![allow(unsafe_code)]

/// Loops that gain from wider vectors. They must not depend on the instruction set: no value may be looked up that differs between the two.
pub trait Plain {
    /// What they make.
    type Output;
    /// The loops; to be compiled twice, an implementation and what it calls are `inline(always)`.
    fn run(self) -> Self::Output;
}

/// Runs the loops. Both ways give the same bits, as the compiler never contracts a product and a sum into one rounding.
pub fn wide<P: Plain>(work: P) -> P::Output {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2, as just detected.
        return unsafe { avx2(work) };
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2<P: Plain>(work: P) -> P::Output {
    work.run()
}
