//! How well a model has recovered what is known, and how it does as a model.
