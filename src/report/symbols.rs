//! Mathematical characters and their LaTeX commands.

/// Character and command. The first command of a character is the one that is written.
#[rustfmt::skip]
const SYMBOLS: &[(char, &str)] = &[
    ('α', "\\alpha"), ('β', "\\beta"), ('γ', "\\gamma"), ('δ', "\\delta"), ('ε', "\\varepsilon"), ('ε', "\\epsilon"),
    ('ζ', "\\zeta"), ('η', "\\eta"), ('θ', "\\theta"), ('κ', "\\kappa"), ('λ', "\\lambda"), ('μ', "\\mu"), ('ν', "\\nu"),
    ('ξ', "\\xi"), ('π', "\\pi"), ('ρ', "\\rho"), ('σ', "\\sigma"), ('τ', "\\tau"), ('φ', "\\varphi"), ('φ', "\\phi"),
    ('χ', "\\chi"), ('ψ', "\\psi"), ('ω', "\\omega"), ('Γ', "\\Gamma"), ('Δ', "\\Delta"), ('Λ', "\\Lambda"),
    ('Σ', "\\Sigma"), ('Φ', "\\Phi"), ('Ω', "\\Omega"), ('ℓ', "\\ell"), ('∇', "\\nabla"), ('∂', "\\partial"),
    ('∞', "\\infty"), ('∅', "\\emptyset"), ('∅', "\\varnothing"), ('∈', "\\in"), ('∉', "\\notin"), ('⊂', "\\subset"),
    ('⊆', "\\subseteq"), ('∪', "\\cup"), ('∩', "\\cap"), ('∖', "\\setminus"), ('∀', "\\forall"), ('∃', "\\exists"),
    ('∄', "\\nexists"), ('¬', "\\neg"), ('∧', "\\wedge"), ('∨', "\\vee"), ('≤', "\\le"), ('≤', "\\leq"), ('≥', "\\ge"),
    ('≥', "\\geq"), ('≠', "\\ne"), ('≠', "\\neq"), ('≈', "\\approx"), ('≡', "\\equiv"), ('∼', "\\sim"), ('≲', "\\lesssim"),
    ('≻', "\\succ"), ('⇒', "\\Rightarrow"), ('⇒', "\\implies"), ('⇔', "\\Leftrightarrow"), ('⇔', "\\iff"), ('→', "\\to"),
    ('→', "\\rightarrow"), ('⟹', "\\Longrightarrow"), ('⟺', "\\Longleftrightarrow"), ('↦', "\\mapsto"), ('×', "\\times"), ('·', "\\cdot"), ('∘', "\\circ"), ('⊗', "\\otimes"),
    ('⊙', "\\odot"), ('±', "\\pm"), ('⟂', "\\perp"), ('∥', "\\parallel"), ('‖', "\\|"), ('‖', "\\Vert"), ('⟨', "\\langle"),
    ('⟩', "\\rangle"), ('⌊', "\\lfloor"), ('⌋', "\\rfloor"), ('⌈', "\\lceil"), ('⌉', "\\rceil"), ('⊤', "\\top"),
    ('…', "\\dots"), ('…', "\\ldots"), ('⋯', "\\cdots"), ('∣', "\\mid"), ('★', "\\bigstar"), ('✓', "\\checkmark"),
    ('∑', "\\sum"), ('∏', "\\prod"), ('√', "\\surd"), ('−', "-"), ('½', "\\tfrac12"), ('⅓', "\\tfrac13"),
    ('¼', "\\tfrac14"), ('ℝ', "\\mathbb{R}"), ('ℚ', "\\mathbb{Q}"), ('⊥', "\\bot"), ('↑', "\\uparrow"), ('↓', "\\downarrow"),
    ('⁺', "^{+}"), ('⁻', "^{-}"), ('ᵀ', "^{\\top}"), ('⁰', "^{0}"), ('¹', "^{1}"), ('²', "^{2}"), ('³', "^{3}"),
    ('⁴', "^{4}"), ('⁵', "^{5}"), ('⁶', "^{6}"), ('⁷', "^{7}"), ('⁸', "^{8}"), ('⁹', "^{9}"), ('ⁿ', "^{n}"),
    ('₀', "_{0}"), ('₁', "_{1}"), ('₂', "_{2}"), ('₃', "_{3}"), ('₄', "_{4}"), ('₅', "_{5}"), ('₆', "_{6}"),
    ('₇', "_{7}"), ('₈', "_{8}"), ('₉', "_{9}"),
    ('₊', "_{+}"), ('₋', "_{-}"), ('′', "^{\\prime}"), ('″', "^{\\prime\\prime}"), ('≪', "\\ll"), ('≫', "\\gg"),
    ('Π', "\\Pi"), ('Θ', "\\Theta"), ('Ψ', "\\Psi"), ('Ξ', "\\Xi"), ('¾', "\\tfrac34"), ('§', "\\S"),
];

/// The LaTeX command of a character.
pub(super) fn command(c: char) -> Option<&'static str> {
    SYMBOLS.iter().find(|(symbol, _)| *symbol == c).map(|(_, command)| *command)
}

/// The character of a LaTeX command such as `\lambda`.
pub(super) fn character(command: &str) -> Option<char> {
    SYMBOLS.iter().find(|(_, known)| *known == command).map(|(symbol, _)| *symbol)
}
