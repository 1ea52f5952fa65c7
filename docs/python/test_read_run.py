"""Tests of read_run.py on files that sdlab has just written.

    python3 -m unittest discover --start-directory docs/python

Needs numpy and safetensors; the commands that `cargo test --release` builds, or SDLAB=path of the command; and the folder that tests/formats.rs
leaves, target/tmp/formats, or SDLAB_FORMATS=path of it.
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import unittest.mock

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
import read_run

ROOT = pathlib.Path(__file__).resolve().parents[2]
SDLAB = pathlib.Path(os.environ.get("SDLAB", ROOT / "target/release/sdlab")).resolve()
FORMATS = pathlib.Path(os.environ.get("SDLAB_FORMATS", ROOT / "target/tmp/formats"))

BENCH = """
n = 30
n_p = 16
interference = 0.3
sparsity = 0.9
samples = 200
"""

TRAINING = """
[bench]
n = 30
n_p = 16
interference = 0.3
sparsity = 0.9
samples = 600
[model]
latents = 40
activation = { kind = "batch-top-k", k = 4 }
init = { encoder_bias = true, decoder_bias = true, input_bias = true }
[train]
batch = 50
steps = 30
"""


def sdlab(*arguments):
    done = subprocess.run([SDLAB, *arguments], capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"sdlab {arguments[0]} ends with {done.returncode}: {done.stderr}")


class Models(unittest.TestCase):
    def test_models_reconstruct_what_sdlab_reconstructs(self):
        folders = sorted(path for path in FORMATS.iterdir() if path.is_dir())
        self.assertGreaterEqual(len(folders), 15, FORMATS)
        for folder in folders:
            with self.subTest(folder.name):
                model = read_run.Model.read(folder)
                x = np.load(folder / "x.npy")
                codes = model.encode(x)
                # Both compute in f64 and round to f32: numbers below 8 move by at most 8 * 2^-24 = 4.8e-7.
                np.testing.assert_allclose(codes, np.load(folder / "codes.npy"), rtol=0, atol=1e-6)
                np.testing.assert_allclose(model.decode(codes, x), np.load(folder / "reconstruction.npy"), rtol=0, atol=1e-6)

    def test_weights_that_cfg_json_does_not_describe_are_refused(self):
        with tempfile.TemporaryDirectory() as scratch:
            for name in ("cfg.json", "sae_weights.safetensors"):
                data = (FORMATS / "relu" / name).read_bytes()
                # The last byte belongs to a number.
                changed = data[:-1] + bytes([data[-1] ^ 1]) if name.startswith("sae") else data
                (pathlib.Path(scratch) / name).write_bytes(changed)
            with self.assertRaisesRegex(ValueError, "other weights"):
                read_run.Model.read(scratch)


class Bench(unittest.TestCase):
    def test_samples_and_directions_give_the_dense_representations_bit_for_bit(self):
        with tempfile.TemporaryDirectory() as scratch:
            config, out = pathlib.Path(scratch) / "bench.toml", pathlib.Path(scratch) / "out"
            for more, side, dense in (("", "w_p", "x_p.npy"), ('task = { kind = "transcoder", n_r = 20 }', "w_r", "x_r.npy")):
                config.write_text(BENCH + more)
                sdlab("bench", "generate", config, "--out", out, "--dense", "--force")
                rows = read_run.representations(out, side)
                self.assertEqual(rows.shape, (200, 16 if side == "w_p" else 20))
                np.testing.assert_array_equal(rows, np.load(out / dense))
                self.assertGreater(np.count_nonzero(rows), 0)
                if read_run.tomllib:
                    config_read = read_run.config(out)
                    self.assertEqual((config_read["n"], config_read["n_p"], config_read["samples"], config_read["seed"]), (30, 16, 200, 0))
                    self.assertEqual(config_read["task"]["kind"], "transcoder" if more else "sae")
                    # What was left out is written down.
                    self.assertEqual((config_read["c_min"], config_read["descent"]["step"]), (1.0, 0.125))
            self.assertIn("directions", "\n".join(read_run.describe(out)))


class Runs(unittest.TestCase):
    def test_every_file_of_a_run_is_read(self):
        with tempfile.TemporaryDirectory() as scratch:
            config, run = pathlib.Path(scratch) / "run.toml", pathlib.Path(scratch) / "run"
            config.write_text(TRAINING)
            sdlab("train", config, "--out", run)
            model = read_run.Model.read(run)
            arrays, metadata = read_run.checkpoint(run)
            self.assertEqual(metadata["step"], 30)
            # The checkpoint of the last step holds the model that was written.
            for name, array in model.parameters.items():
                np.testing.assert_array_equal(array, arrays[f"model.{name}"].reshape(array.shape), name)
            self.assertEqual(model.threshold, metadata["threshold"])
            self.assertEqual(len(arrays["idle"]), 40)
            records = read_run.metrics(run)
            self.assertEqual(records[0]["step"], 0)
            self.assertLess(records[-1]["loss"], records[0]["loss"])
            self.assertLess(records[-1]["fvu"], records[0]["fvu"])
            self.assertIn("scores", read_run.result(run))
            points = read_run.trace(run)
            self.assertEqual([point["step"] for point in points], [0, 10, 20, 30])
            scores = read_run.result(run)["scores"]
            for side in ("encoder", "decoder"):
                self.assertEqual(points[-1][side], scores[side]["whole"]["normalised"]["all"]["recovered"][90])
            self.assertEqual([point["loss"] for point in points[:3]], [record["loss"] for record in records[:3]])
            self.assertEqual(read_run.resampling(run), [])
            text = "\n".join(read_run.describe(run))
            for part in ("model:", "metrics:", "trace:", "timings:", "config.toml:", "checkpoint:", "result.json:", "provenance.json:"):
                self.assertIn(part, text)

    def test_a_run_that_moves_latents_is_read_with_its_parameters_and_its_speed(self):
        with tempfile.TemporaryDirectory() as scratch:
            config, run = pathlib.Path(scratch) / "run.toml", pathlib.Path(scratch) / "run"
            for kind in ("bricken", "decrease"):
                # Few latents are active, so that some are dead after 200 samples.
                resampling = f'[resampling]\nkind = "{kind}"\nsteps = [8, 20]\ndead_after = 200\nsamples = 100\n'
                config.write_text(TRAINING.replace("latents = 40", "latents = 200").replace("k = 4", "k = 1") + resampling)
                sdlab("train", config, "--out", run, "--force", "--max-steps", "20")
                sdlab("train", config, "--out", run, "--resume")
                moved = read_run.resampling(run)
                self.assertEqual([times["step"] for times in moved], [8, 20])
                for times in moved:
                    latents, decreases = times["latents"], times["decreases"]
                    self.assertGreater(len(latents), 0)
                    self.assertEqual(len(set(latents)), len(latents))
                    self.assertTrue(all(0 <= latent < 200 for latent in latents))
                    self.assertEqual(len(decreases), len(latents) if kind == "decrease" else 0)
                    self.assertTrue(all(decrease > 0 for decrease in decreases))
                self.assertIn(f"resampling: {sum(len(times['latents']) for times in moved)} latents", "\n".join(read_run.describe(run)))
                times = read_run.timings(run)
                # Two sessions, whose seconds begin anew.
                self.assertEqual([time["step"] for time in times], [record["step"] for record in read_run.metrics(run)])
                # Before the first record of a session there is nothing to measure.
                self.assertTrue(all(time["seconds"] >= 0 and time["samples_per_second"] >= 0 for time in times))
                self.assertTrue(any(time["samples_per_second"] > 0 for time in times))
                if read_run.tomllib:
                    read = read_run.config(run)
                    self.assertEqual(read["resampling"]["kind"], kind)
                    self.assertEqual((read["model"]["latents"], read["bench"]["n"], read["train"]["steps"]), (200, 30, 30))
                    self.assertEqual((read["train"]["divergence"], read["bench"]["descent"]["regularisation"]), (1e4, 1e-4))

    def test_toml_is_refused_in_words_where_python_is_too_old_for_it(self):
        with tempfile.TemporaryDirectory() as scratch:
            (pathlib.Path(scratch) / "config.toml").write_text("n = 3\n")
            with unittest.mock.patch.object(read_run, "tomllib", None):
                with self.assertRaisesRegex(RuntimeError, "Python 3.11 or later"):
                    read_run.config(scratch)
                self.assertIn("Python 3.11", "\n".join(read_run.describe(scratch)))

    def test_losses_of_epochs_stand_in_the_checkpoint_where_a_plateau_may_end_training(self):
        with tempfile.TemporaryDirectory() as scratch:
            config, run = pathlib.Path(scratch) / "run.toml", pathlib.Path(scratch) / "run"
            config.write_text(TRAINING.replace("steps = 30", "steps = 30\nlog_every = 1\nplateau = 0.0"))
            sdlab("train", config, "--out", run, "--max-steps", "17")
            epochs = read_run.checkpoint(run)[1]["epochs"]
            losses = [record["loss"] for record in read_run.metrics(run)]
            # An epoch has 12 whole batches of 50 samples; sums are made in the same order.
            self.assertEqual(epochs["samples"], 5 * 50)
            self.assertAlmostEqual(epochs["sum"], 50 * sum(losses[12:17]), places=6)
            self.assertAlmostEqual(epochs["last"], sum(losses[:12]) / 12, places=9)
            self.assertIsNone(epochs["before"])

    def test_stored_results_are_read_whether_or_not_they_have_traces(self):
        for record in read_run.records(ROOT / "reports/results/small.jsonl"):
            self.assertEqual(len(record["decoder"]["normalised"]["curve"]), 21)
            self.assertIn("device", record["origin"])
            self.assertTrue(all(point["decoder"] <= 1 for point in record.get("trace", [])))


if __name__ == "__main__":
    unittest.main()
