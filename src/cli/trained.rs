//! A trained model with the experiment that it is of, for the commands that look at one.

use super::output::Progress;
use super::{CliError, Session};
use crate::io::{import, saelens};
use crate::sdl::{Anchors, Model, Objective, Shape};
use crate::train::check::{Checked, Plan};
use crate::train::checkpoint;
use crate::train::config::Experiment;
use crate::train::data::Data;
use crate::train::directory::CONFIG;
use crate::train::session::{PrepareError, Prepared};
use std::path::Path;

/// A model, the data of its run, and what its backend is to be made for.
pub struct Trained {
    /// Name of the configuration, for errors.
    pub name: String,
    /// Folder of the model, for errors.
    pub folder: String,
    /// The data of the run.
    pub data: Data,
    /// The plan of the run, for the shape of the model.
    pub plan: Plan,
    /// The model.
    pub model: Model,
}

impl Trained {
    /// Reads a run, and the model of another folder where one is named, in any layout of [`import`]. `change` may change the experiment before
    /// its data are opened. Files of the run that hold something else than in training are said, not refused: they may be held out.
    pub fn read(
        session: &mut Session,
        run: &Path,
        model: Option<&Path>,
        change: impl FnOnce(&mut Experiment) -> Result<(), CliError>,
    ) -> Result<Self, CliError> {
        let (name, text) = session.inputs.configuration(&run.join(CONFIG).to_string_lossy())?;
        let request = |error: String| CliError::Request(format!("{name}: {error}"));
        let mut experiment = Experiment::from_toml(&text).map_err(request)?;
        let trained_on = experiment.data.clone();
        change(&mut experiment)?;
        let checked = experiment.check().map_err(|error| request(error.to_string()))?;
        let folder = model.unwrap_or(run);
        if model.is_none() && !folder.join(saelens::CONFIG).exists() {
            let message = format!("{}: expected a trained model, found no {}", folder.display(), saelens::CONFIG);
            return Err(CliError::Request(format!("{message}; `sdlab train CONFIG --resume` finishes a run")));
        }
        let read = import::open(folder).map_err(|error| CliError::Request(error.to_string()))?.model;
        let Prepared { data, mut plan, .. } = prepare(checked).map_err(|error| request(error.to_string()))?;
        let saved = run.join(checkpoint::FILE);
        if let Some(files) = trained_on.filter(|_| saved.exists()) {
            let own = [Some(&files.inputs), files.targets.as_ref(), files.labels.as_ref()];
            plan.contents.retain(|content| own.contains(&Some(&content.file)));
            if let Err(error) = checkpoint::check_contents(&saved, &plan.contents) {
                session.output.text(&format!("mind: {error}"))?;
            }
        }
        let folder = folder.display().to_string();
        let Shape { n_p, n_r, n_q } = read.shape();
        let expected = plan.spec.shape;
        if (n_p, n_r) != (expected.n_p, expected.n_r) {
            let Shape { n_p: p, n_r: r, .. } = expected;
            let message = format!("a model with n_p = {p} and n_r = {r}, as the data of {name}, found {n_p} and {n_r}");
            return Err(CliError::Request(format!("{folder}: expected {message}")));
        }
        if n_q != expected.n_q || model.is_some() {
            // Penalties, scales and anchors of this training are not those of another model.
            plan.spec.shape = read.shape();
            plan.spec.objective = Objective::default();
            plan.spec.anchors = Anchors::none();
        }
        Ok(Self { name, folder, data, plan, model: read })
    }
}

/// Makes the bench of an experiment, with progress, or opens its files.
pub(super) fn prepare(checked: Checked) -> Result<Prepared, PrepareError> {
    let wanted = checked.experiment().bench.as_ref().map_or(0.0, |bench| bench.interference);
    let mut progress = Progress::new(1);
    let prepared = Prepared::new_watched(checked, &mut |largest| progress.features(largest, wanted));
    progress.finish();
    prepared
}
