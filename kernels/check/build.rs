//! Compiles the kernels for the processor: once as they are, and once for each planted fault, under names with a prefix.

use std::path::{Path, PathBuf};

/// A fault.
struct Fault {
    name: &'static str,
    /// The file that has it, and the one whose kernels are compiled with it.
    files: [&'static str; 2],
    /// What is replaced, the first time that it comes after the marker, and by what.
    marker: &'static str,
    replaced: [&'static str; 2],
}

const FAULTS: [Fault; 15] = [
    // The histogram is searched before all threads have counted.
    Fault {
        name: "missing-barrier",
        files: ["common.cuh", "select.cu"],
        marker: "atomicAdd(&space->histogram",
        replaced: ["    __syncthreads();\n", ""],
    },
    // The last of equal entries is left out.
    Fault {
        name: "off-by-one",
        files: ["common.cuh", "select.cu"],
        marker: "__device__ u32 take_until",
        replaced: ["before < cut.ties", "before + 1 < cut.ties"],
    },
    // The same in a list of what may be selected.
    Fault {
        name: "off-by-one-listed",
        files: ["select.cu", "select.cu"],
        marker: "KERNEL(first_of_row)",
        replaced: ["list.entries[j] <= list.last", "list.entries[j] < list.last"],
    },
    // A list is read before all have written to it.
    Fault {
        name: "early-list",
        files: ["common.cuh", "select.cu"],
        marker: "list->entries[place] = i + c;",
        replaced: ["  __syncthreads();\n  return list->count;", "  return list->count;"],
    },
    // A floor that is above the k-th entry.
    Fault {
        name: "high-floor",
        files: ["common.cuh", "select.cu"],
        marker: "floor = radix_cut(",
        replaced: ["radix, 16).key", "radix, 16).key + 0x10000u"],
    },
    // Every selected latent is written one place further, the last one behind the array.
    Fault {
        name: "out-of-bounds",
        files: ["select.cu", "select.cu"],
        marker: "KERNEL(first_of_row)",
        replaced: ["latents[start + place] = i", "latents[start + place + 1] = i"],
    },
    // A stage is filled while others still read it.
    Fault {
        name: "early-stage",
        files: ["encode.cu", "encode.cu"],
        marker: "copies_wait<0>();",
        replaced: ["      __syncthreads();\n", ""],
    },
    // A stage is read before it is filled.
    Fault {
        name: "no-wait",
        files: ["encode.cu", "encode.cu"],
        marker: "KERNEL(scores)",
        replaced: ["copies_wait<0>()", "copies_wait<1>()"],
    },
    // Lanes are added in the order in which they are numbered.
    Fault {
        name: "other-tree",
        files: ["encode.cu", "encode.cu"],
        marker: "u32 folded(u32 t)",
        replaced: ["<< (5 - bit)", "<< bit"],
    },
    // Moments are rounded to the nearest bf16.
    Fault {
        name: "to-nearest",
        files: ["update.cu", "update.cu"],
        marker: "unsigned short round_at_random",
        replaced: ["(bits + r) >> 16", "(bits + 0x8000u) >> 16"],
    },
    // All moments of a step are rounded by the same random number.
    Fault {
        name: "one-word",
        files: ["update.cu", "update.cu"],
        marker: "void with_words",
        replaced: ["group * 32 + lane_of()", "0"],
    },
    // A piece of a list leaves out its last code.
    Fault {
        name: "short-piece",
        files: ["backward.cu", "backward.cu"],
        marker: "List list_of",
        replaced: ["min(end, first + PIECE)", "min(end, first + PIECE - 1)"],
    },
    // The pieces behind the first are added from the last.
    Fault {
        name: "pieces-backwards",
        files: ["backward.cu", "backward.cu"],
        marker: "KERNEL(join_pieces)",
        replaced: ["from[(u64)piece * width]", "from[(u64)(pieces - piece - (adds ? 1 : 0)) * width]"],
    },
    // Rows are summed before all factors are there.
    Fault {
        name: "codes-unfinished",
        files: ["backward.cu", "backward.cu"],
        marker: "KERNEL(backward)",
        replaced: ["      __syncthreads();\n      gather<false, true>", "      gather<false, true>"],
    },
    // The next list is announced while threads still look at the one before.
    Fault {
        name: "list-too-early",
        files: ["backward.cu", "backward.cu"],
        marker: "has left in shared memory has been read.",
        replaced: ["    __syncthreads();\n", ""],
    },
];

fn main() {
    let kernels = Path::new("..");
    // The suite that every backend passes is part of this library, the backend of the processor is not.
    println!("cargo:rustc-check-cfg=cfg(sdlab_kernels)");
    println!("cargo:rustc-cfg=sdlab_kernels");
    for watched in ["..", "../shim"] {
        for entry in std::fs::read_dir(watched).into_iter().flatten().flatten() {
            if entry.path().is_file() {
                println!("cargo:rerun-if-changed={}", entry.path().display());
            }
        }
    }
    println!("cargo:rerun-if-env-changed=CXX");
    let sources: Vec<PathBuf> = std::fs::read_dir(kernels)
        .expect("the folder of kernels")
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
        .collect();
    compile("kernels", kernels, &sources, "");
    for Fault { name, files: [file, compiled], marker, replaced: [from, to] } in FAULTS {
        let folder = PathBuf::from(std::env::var("OUT_DIR").expect("set by cargo")).join(name);
        std::fs::create_dir_all(folder.join("shim")).expect("a folder for the faulty sources");
        std::fs::copy(kernels.join("shim/shim.h"), folder.join("shim/shim.h")).expect("the header of the stand-in");
        let mut faulty = Vec::new();
        for path in sources.iter().cloned().chain([kernels.join("common.cuh")]) {
            let own = path.file_name().expect("a file").to_owned();
            let mut text = std::fs::read_to_string(&path).expect("a source");
            if own == file {
                let (before, after) = text.split_once(marker).expect("the marker of a fault");
                assert!(after.contains(from), "{name}: the place of a fault");
                text = format!("{before}{marker}{}", after.replacen(from, to, 1));
            }
            let copy = folder.join(&own);
            std::fs::write(&copy, text).expect("a faulty source");
            if own == compiled {
                faulty.push(copy);
            }
        }
        compile(name, &folder, &faulty, &format!("{name}/"));
    }
    let mut shim = build();
    shim.file(kernels.join("shim/shim.cpp")).compile("sdlab_shim");
    stand_in(kernels);
    if std::env::var_os("CARGO_FEATURE_ADDRESS").is_some() {
        // The whole runtime in the program itself, since it must come before all other libraries.
        for argument in [
            "-Wl,--whole-archive",
            "-l:libasan.a",
            "-Wl,--no-whole-archive",
            "-lstdc++",
            "-lm",
            "-lpthread",
            "-ldl",
            "-lrt",
        ] {
            println!("cargo:rustc-link-arg={argument}");
        }
    }
}

/// The libraries that the raw layer of the backend looks for, as one that runs the kernels above, under three names in a folder.
fn stand_in(kernels: &Path) {
    let out = PathBuf::from(std::env::var("OUT_DIR").expect("set by cargo"));
    let folder = out.join("stand-in");
    std::fs::create_dir_all(&folder).expect("a folder for the libraries");
    println!("cargo:rustc-env=SDLAB_STAND_IN_FOLDER={}", folder.display());
    // Its own memory would be guarded, and the program that opens it is not built for that.
    if std::env::var_os("CARGO_FEATURE_ADDRESS").is_some() {
        return;
    }
    let objects = build().file(kernels.join("shim/driver.cpp")).compile_intermediates();
    let mut link = build().get_compiler().to_command();
    link.arg("-shared").arg("-o").arg(folder.join("libcuda.so")).args(objects);
    link.arg("-Wl,--whole-archive").arg(out.join("libsdlab_kernels.a")).arg(out.join("libsdlab_shim.a"));
    link.args(["-Wl,--no-whole-archive", "-lpthread"]);
    assert!(link.status().expect("the C++ compiler").success(), "the stand-in of the driver is not linked");
    // The same file, so that they share what they know.
    for name in ["libnvrtc.so", "libcublasLt.so", "libnccl.so.2"] {
        let _ = std::fs::remove_file(folder.join(name));
        std::os::unix::fs::symlink("libcuda.so", folder.join(name)).expect("another name");
    }
    let mut empty = build().get_compiler().to_command();
    empty.args(["-shared", "-x", "c++", "/dev/null", "-o"]).arg(folder.join("empty.so"));
    assert!(empty.status().expect("the C++ compiler").success(), "a library without functions");
}

fn build() -> cc::Build {
    let mut build = cc::Build::new();
    build.cpp(true).std("c++17").opt_level(2).debug(true).include("..").include("../shim").define("SDLAB_SHIM", None);
    // Contraction would change bits. Fibers need frames that fit their stacks.
    build
        .flag("-ffp-contract=off")
        .flag("-fno-strict-aliasing")
        .flag("-Wno-unknown-pragmas")
        .flag("-Wno-unused-parameter");
    if std::env::var_os("CARGO_FEATURE_ADDRESS").is_some() {
        build.flag("-fsanitize=address").flag("-fno-omit-frame-pointer");
    }
    build
}

fn compile(name: &str, folder: &Path, sources: &[PathBuf], prefix: &str) {
    let mut build = build();
    build.include(folder).define("SHIM_PREFIX", format!("\"{prefix}\"").as_str());
    // The compiler is told the language of a file by its name.
    build.flag("-x").flag("c++");
    // Kernels register themselves, so that the linker must not leave them out.
    build.link_lib_modifier("+whole-archive");
    build.files(sources).compile(&format!("sdlab_{}", name.replace('-', "_")));
}
