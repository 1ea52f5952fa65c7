//! Groups of a `lower-bound` whose codes have a kernel (FORMAT.md §5).

use crate::Refusal;
use crate::format::{Kernel, Missed, Rat, SignNode};
use crate::instance::{Instance, require};
use crate::matrix::{Matrix, is_semidefinite, rational_rank};
use crate::nonexistence::MAX_NODES;
use crate::number::Num;

/// Deepest chain of signs.
const MAX_FORMS: usize = 60;

/// The value s that every x = Tξ ≠ 0 in the kernel of the group's codes pays.
pub(crate) fn kernel_bound(
    instance: &Instance,
    features: &[usize],
    (known, faces): (&Matrix<Option<bool>>, &Matrix<Option<bool>>),
    kernel: &Kernel,
    nodes: &mut usize,
) -> Result<Num, Refusal> {
    let columns = kernel.basis.first().map_or(0, Vec::len);
    let basis = instance.vectors(&kernel.basis, columns).map_err(|refusal| refusal.within("basis"))?;
    require(columns > 0 && basis.len() == features.len(), || "basis: expected a row for each feature".to_owned())?;
    require(rational_rank(instance, &basis)? == columns, || "basis: the columns are dependent".to_owned())?;
    let mut unmet = Vec::new();
    for (i, (row, faces)) in known.iter().zip(faces).enumerate() {
        if !annihilated(instance, features, row, faces, &basis, columns)? {
            unmet.push(i);
        }
    }
    require(unmet.len() < columns, || format!("{} neurons may meet every x of {columns} dimensions", unmet.len()))?;
    let s = Num::from(&kernel.s);
    let form = quotient(instance, features, &basis, columns, &s)?;
    let mut tree = Signs { instance, features, known, faces, basis, columns, unmet, form, forms: Vec::new(), nodes };
    tree.node(&kernel.tree, true).map_err(|refusal| refusal.within("tree"))?;
    Ok(s)
}

/// Whether the neuron's codes vanish on every x = Tξ: it fires on nothing of the group, or Σ_{on} p_d T_d is a combination of the p_e with
/// ⟨w, p_e⟩ = 0.
fn annihilated(
    instance: &Instance,
    features: &[usize],
    row: &[Option<bool>],
    faces: &[Option<bool>],
    basis: &Matrix<Num>,
    columns: usize,
) -> Result<bool, Refusal> {
    let mut on = Vec::new();
    for (&d, t) in features.iter().zip(basis) {
        match row.get(d).copied().flatten() {
            Some(true) => on.push((t, instance.direction(d)?)),
            Some(false) => {}
            None => return Ok(false),
        }
    }
    let mut tight = Vec::new();
    for (e, _) in faces.iter().enumerate().filter(|(_, face)| **face == Some(true)) {
        tight.push(instance.direction(e)?.to_vec());
    }
    let rank = if tight.is_empty() { 0 } else { rational_rank(instance, &tight)? };
    for column in 0..columns {
        let terms: Vec<_> = on.iter().filter_map(|(t, p)| Some((t.get(column)?.clone(), *p))).collect();
        tight.push(instance.combine(instance.n_p, &terms)?);
    }
    Ok(rational_rank(instance, &tight)? == rank)
}

/// Tᵀ(G − s D⁻¹)T.
fn quotient(
    instance: &Instance,
    features: &[usize],
    basis: &Matrix<Num>,
    columns: usize,
    s: &Num,
) -> Result<Matrix<Num>, Refusal> {
    let (mut images, mut scaled) = (Vec::new(), Vec::new());
    for column in 0..columns {
        let (mut terms, mut divided) = (Vec::new(), Vec::new());
        for (&d, t) in features.iter().zip(basis) {
            let (_, r, mass) = instance.feature(d)?;
            let t = t.get(column).cloned().unwrap_or_else(Num::zero);
            divided.push(instance.product(&instance.product(s, &mass.inverse()?)?, &t)?);
            terms.push((t, r));
        }
        images.push(instance.combine(instance.n_r, &terms)?);
        scaled.push(divided);
    }
    let column = |at: usize| basis.iter().filter_map(|t| t.get(at).cloned()).collect::<Vec<Num>>();
    let mut form: Matrix<Num> = Vec::new();
    for (at, image) in images.iter().enumerate() {
        let left = column(at);
        let entry = |(other, divided): (&Vec<Num>, &Vec<Num>)| {
            instance.difference(&instance.dot(image, other)?, &instance.dot(&left, divided)?)
        };
        form.push(images.iter().zip(&scaled).map(entry).collect::<Result<_, Refusal>>()?);
    }
    Ok(form)
}

/// A linear form of ξ that is positive, or only known to be ≥ 0.
struct Form {
    h: Vec<Num>,
    strict: bool,
}

struct Signs<'a, 'w> {
    instance: &'a Instance<'w>,
    features: &'a [usize],
    known: &'a Matrix<Option<bool>>,
    faces: &'a Matrix<Option<bool>>,
    basis: Matrix<Num>,
    columns: usize,
    /// The neurons whose equation x has to meet.
    unmet: Vec<usize>,
    /// Tᵀ(G − s D⁻¹)T.
    form: Matrix<Num>,
    forms: Vec<Form>,
    nodes: &'a mut usize,
}

impl Signs<'_, '_> {
    fn node(&mut self, node: &SignNode, root: bool) -> Result<(), Refusal> {
        *self.nodes += 1;
        if *self.nodes > MAX_NODES {
            return Err(Refusal::limit(format!("over {MAX_NODES} nodes")));
        }
        match node {
            SignNode::Sign { form, positive, other } => {
                let h = self.instance.vector(form, self.columns).map_err(|refusal| refusal.within("sign"))?;
                if self.forms.len() >= MAX_FORMS {
                    return Err(Refusal::limit(format!("over {MAX_FORMS} forms")));
                }
                let negative = h.iter().map(Num::neg).collect();
                self.forms.push(Form { h: h.clone(), strict: true });
                self.node(positive, false).map_err(|refusal| refusal.within("positive"))?;
                self.forms.pop();
                self.forms.push(Form { h: negative, strict: false });
                // −ξ serves as well as ξ, so that at the root only h·ξ = 0 is left.
                if root {
                    self.forms.push(Form { h, strict: false });
                }
                self.node(other, false).map_err(|refusal| refusal.within("other"))?;
                self.forms.truncate(self.forms.len() - 1 - usize::from(root));
                Ok(())
            }
            SignNode::Above(missed) => self.missed(missed, false).map_err(|refusal| refusal.within("above")),
            SignNode::Below(missed) => self.missed(missed, true).map_err(|refusal| refusal.within("below")),
            SignNode::Bounded(n) => self.bounded(n).map_err(|refusal| refusal.within("n")),
        }
    }

    fn form_at(&self, k: usize) -> Result<&Form, Refusal> {
        self.forms.get(k).ok_or_else(|| Refusal::condition(format!("there is no form {k}")))
    }

    /// Tᵀ(G − s D⁻¹)T − Σ ν_kl (h_k h_lᵀ + h_l h_kᵀ) is positive semidefinite.
    fn bounded(&self, n: &[(usize, usize, Rat)]) -> Result<(), Refusal> {
        let instance = self.instance;
        let n = instance.positive(instance, n.iter().map(|(k, l, coefficient)| ((*k, *l), coefficient)))?;
        let (one, mut terms) = (Num::from(1), Vec::new());
        for ((k, l), coefficient) in &n {
            require(k < l, || format!("({k}, {l}) are not in order"))?;
            let (k, l) = (&self.form_at(*k)?.h, &self.form_at(*l)?.h);
            let scaled = |h: &[Num]| instance.combine(self.columns, &[(coefficient.neg(), h)]);
            terms.extend([(scaled(k)?, l), (scaled(l)?, k)]);
        }
        let entry = |a: usize, b: usize, start: &Num| {
            let products = terms.iter().filter_map(|(left, right)| Some((left.get(a)?, right.get(b)?)));
            instance.sum([(start, &one)].into_iter().chain(products))
        };
        let mut gap: Matrix<Num> = Vec::new();
        for (a, row) in self.form.iter().enumerate() {
            gap.push(row.iter().enumerate().map(|(b, start)| entry(a, b, start)).collect::<Result<_, _>>()?);
        }
        require(is_semidefinite(instance, &gap)?, || "the form is not positive semidefinite".to_owned())
    }

    /// ±Σ z_id x_d = Σ y_dk ⟨w_i, p_d⟩ h_k − Σ y_ek ⟨w_i, p_e⟩ h_k + Σ y_dk z_id h_k > 0.
    fn missed(&self, missed: &Missed, negative: bool) -> Result<(), Refusal> {
        let instance = self.instance;
        let i = missed.neuron;
        require(self.unmet.contains(&i), || format!("x need not meet neuron {i}"))?;
        let decided = |d: usize| self.known.get(i).and_then(|row| row.get(d)).copied().flatten();
        let read = |list: &[(usize, usize, Rat)], key: &str, allowed: &dyn Fn(usize) -> bool| {
            let read = instance.positive(instance, list.iter().map(|(d, k, coefficient)| ((*d, *k), coefficient)));
            let read = read.map_err(|refusal| refusal.within(key))?;
            for ((d, k), _) in &read {
                instance.feature(*d)?;
                self.form_at(*k)?;
                require(allowed(*d), || format!("feature {d} does not belong in `{key}`"))?;
            }
            Ok(read)
        };
        let on = read(&missed.on, "on", &|d| decided(d) == Some(true))?;
        let off = read(&missed.off, "off", &|e| decided(e) == Some(false))?;
        let free = read(&missed.free, "free", &|d| decided(d).is_none() && self.features.contains(&d))?;
        let side = |t: &Num| if negative { t.neg() } else { t.clone() };
        for column in 0..self.columns {
            let at = |vector: &[Num]| vector.get(column).cloned().unwrap_or_else(Num::zero);
            let mut terms = Vec::new();
            for (&d, t) in self.features.iter().zip(&self.basis).filter(|(d, _)| decided(**d) == Some(true)) {
                terms.push((side(&at(t)), instance.direction(d)?));
            }
            for ((d, k), y) in &on {
                let product = instance.product(y, &at(&self.form_at(*k)?.h))?;
                terms.push((product.neg(), instance.direction(*d)?));
            }
            for ((e, k), y) in &off {
                terms.push((instance.product(y, &at(&self.form_at(*k)?.h))?, instance.direction(*e)?));
            }
            for coordinate in instance.combine(instance.n_p, &terms)? {
                require(instance.is_zero(&coordinate)?, || format!("column {column} is not balanced"))?;
            }
            for (&d, t) in self.features.iter().zip(&self.basis).filter(|(d, _)| decided(**d).is_none()) {
                let mut rest = side(&at(t));
                for ((_, k), y) in free.iter().filter(|((e, _), _)| *e == d) {
                    rest = instance.difference(&rest, &instance.product(y, &at(&self.form_at(*k)?.h))?)?;
                }
                require(instance.is_zero(&rest)?, || format!("column {column} is not balanced at feature {d}"))?;
            }
        }
        let (one, c) = (Num::from(1), instance.threshold()?);
        for k in 0..self.forms.len() {
            let of = |list: &[((usize, usize), Num)]| -> Vec<Num> {
                list.iter().filter(|((_, form), _)| *form == k).map(|(_, y)| y.clone()).collect()
            };
            let (gained, lost) = (of(&on), of(&off).iter().map(Num::neg).collect::<Vec<_>>());
            let sum = instance.sum(gained.iter().chain(&lost).map(|y| (y, &one)))?;
            let held = instance.sign(&instance.product(&c, &sum)?)? >= 0;
            require(held, || format!("the threshold outweighs form {k}"))?;
        }
        let strict = |k: usize| self.forms.get(k).is_some_and(|form| form.strict);
        let mut undecided = self.features.iter().filter(|d| decided(**d).is_none());
        let fires = self.features.iter().any(|&d| decided(d) == Some(true));
        let below = |e: usize| self.faces.get(i).and_then(|row| row.get(e)) == Some(&Some(false));
        let proved = if fires {
            on.iter().any(|((_, k), _)| strict(*k)) || off.iter().any(|((e, k), _)| below(*e) && strict(*k))
        } else {
            undecided.all(|d| free.iter().any(|((e, k), _)| e == d && strict(*k)))
        };
        require(proved, || "nothing is strictly positive".to_owned())
    }
}
