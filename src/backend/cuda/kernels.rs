//! The sources of the kernels, which are part of the program, and the signatures that they declare.

use super::device::Kind;
use std::collections::BTreeMap;

/// The header, then one file per family.
pub const FILES: [(&str, &str); 10] = [
    ("common.cuh", include_str!("../../../kernels/common.cuh")),
    ("sample.cu", include_str!("../../../kernels/sample.cu")),
    ("encode.cu", include_str!("../../../kernels/encode.cu")),
    ("select.cu", include_str!("../../../kernels/select.cu")),
    ("codes.cu", include_str!("../../../kernels/codes.cu")),
    ("decode.cu", include_str!("../../../kernels/decode.cu")),
    ("backward.cu", include_str!("../../../kernels/backward.cu")),
    ("update.cu", include_str!("../../../kernels/update.cu")),
    ("metrics.cu", include_str!("../../../kernels/metrics.cu")),
    ("resampling.cu", include_str!("../../../kernels/resampling.cu")),
];

/// One parameter of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parameter {
    /// What it is or points to.
    pub kind: Kind,
    /// A pointer.
    pub is_memory: bool,
}

/// All files as one source for the compiler.
pub fn source() -> String {
    let without = |text: &str| {
        text.lines().filter(|line| !line.starts_with("#include \"common.cuh\"") && *line != "#pragma once").fold(
            String::with_capacity(text.len()),
            |mut all, line| {
                all.push_str(line);
                all.push('\n');
                all
            },
        )
    };
    FILES.iter().map(|(_, text)| without(text)).collect()
}

/// The parameters of every kernel, as `KERNEL(name)(..)` declares them.
pub fn signatures() -> BTreeMap<String, Vec<Parameter>> {
    let mut all = BTreeMap::new();
    for (_, text) in &FILES[1..] {
        for declared in text.split("\nKERNEL(").skip(1) {
            let Some((name, rest)) = declared.split_once(')') else { continue };
            let Some((_, rest)) = rest.split_once('(') else { continue };
            let Some((parameters, _)) = rest.split_once(')') else { continue };
            all.insert(name.to_owned(), parameters.split(',').filter_map(parameter).collect());
        }
    }
    all
}

fn parameter(text: &str) -> Option<Parameter> {
    let text = text.trim().trim_start_matches("const ");
    let kinds = [
        ("unsigned short", Kind::U16),
        ("u32", Kind::U32),
        ("u64", Kind::U64),
        ("float", Kind::F32),
        ("double", Kind::F64),
    ];
    let (name, kind) = kinds.into_iter().find(|(name, _)| text.starts_with(name))?;
    Some(Parameter { kind, is_memory: text[name.len()..].trim_start().starts_with('*') })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_sources() {
        let all = signatures();
        let kernels: usize = FILES.iter().map(|(_, text)| text.matches("\nREGISTER(").count()).sum();
        assert_eq!(all.len(), kernels, "{:?}", all.keys());
        let memory = |kind| Parameter { kind, is_memory: true };
        let word = Parameter { kind: Kind::U32, is_memory: false };
        assert_eq!(all["centre"], [memory(Kind::F32), memory(Kind::F32), memory(Kind::F32), word, word]);
        let double = Parameter { kind: Kind::F64, is_memory: false };
        assert_eq!(all["clipping"], [memory(Kind::F64), word, double, memory(Kind::F64)]);
        for (name, parameters) in &all {
            let text = FILES.iter().find_map(|(_, text)| text.split_once(&format!("\nKERNEL({name})"))).unwrap().1;
            let list = text.split_once(')').unwrap().0;
            assert_eq!(parameters.len(), list.split(',').count(), "{name}: every parameter is understood");
        }
    }

    #[test]
    fn the_source_includes_nothing_that_the_compiler_has_to_find() {
        let text = source();
        let included: Vec<&str> = text.lines().filter(|line| line.starts_with("#include")).collect();
        assert_eq!(included, ["#include \"shim/shim.h\""], "only the stand-in, which is not taken");
    }
}
