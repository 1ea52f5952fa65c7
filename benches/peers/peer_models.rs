//! Reads models that other trainers have saved and compares what both reconstruct.
//!
//! `python3 benches/peers/write_models.py` lets SAELens, sparsify and dictionary_learning save models, several gigabytes of packages; then
//! `cargo bench --bench peer_models`. Ends with status 1 where a model is not read or reconstructs something else. The layouts themselves are tested in
//! `src/io/import.rs` and `src/io/saelens`.

#[path = "../../tests/common/models.rs"]
mod models;

use sdlab::io::embeddings::Embeddings;
use sdlab::io::import;
use std::path::Path;
use std::process::ExitCode;

/// They add at most 12 + 12 products of numbers below 8 in f32.
const ROUNDING: f32 = 24.0 * 8.0 / (1 << 23) as f32;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers");
    let entries = std::fs::read_dir(&root).into_iter().flatten().flatten();
    let mut folders: Vec<_> = entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    if folders.is_empty() {
        eprintln!("{}: expected models, found none; python3 benches/peers/write_models.py makes them", root.display());
        return ExitCode::from(2);
    }
    let results: Vec<_> = folders.iter().map(|folder| (folder, compare(folder))).collect();
    for (folder, result) in &results {
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        match result {
            Ok(most) => println!("{name:40} {most:9.1e}{}", if *most < ROUNDING { "" } else { "  DIFFERENT" }),
            Err(error) => println!("{name:40} NOT READ: {error}"),
        }
    }
    let equal = results.iter().filter(|(_, result)| result.as_ref().is_ok_and(|most| *most < ROUNDING)).count();
    println!("{equal} of {} models reconstruct as in their own trainer, to rounding", results.len());
    if equal == results.len() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The largest difference of the reconstructions.
fn compare(folder: &Path) -> Result<f32, String> {
    let array = |name: &str| -> Result<Vec<f32>, String> {
        let rows = Embeddings::open(&folder.join(name).display().to_string()).map_err(|error| error.to_string())?;
        let mut numbers = vec![0.0; rows.rows() * rows.dimension()];
        rows.read(&(0..rows.rows() as u64).collect::<Vec<_>>(), &mut numbers);
        Ok(numbers)
    };
    let loaded = import::open(folder).map_err(|error| error.to_string())?;
    if loaded.reconstructs_its_input == folder.display().to_string().ends_with("transcoder") {
        return Err("read as a transcoder where it is none, or the other way round".to_owned());
    }
    let (found, codes) = models::reconstructed(&loaded.model, &array("x.npy")?);
    let expected = array("output.npy")?;
    let active = codes.iter().filter(|z| **z != 0.0).count();
    if found.len() != expected.len() || active <= 20 || active >= codes.len() {
        return Err(format!(
            "{} numbers for {}, {active} of {} codes active",
            found.len(),
            expected.len(),
            codes.len()
        ));
    }
    Ok(found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max))
}
