"""The spec that design.md shows."""
# ruff: noqa: E501 - it stands here word for word

EXAMPLE = """\
spec_version: 1
audit: {id: german-credit-2026q4, title: Retail credit scorecard, owner: Model Risk, purpose: Annual validation, as_of: 2026-11-01}
model:
  kind: sklearn
  path: model.skops
  sha256: 4f0c…
  features: [age, sex, amount, duration, savings, existing_credits, housing]
  decision: {score: p(favourable), at_least: 0.5}
data:
  train: train.parquet
  evaluate: holdout.parquet
  id: applicant_id
  target: {column: outcome, favourable: [good]}
  protected: [sex, age_group]
  production_score: score_in_system
  sample: {rows: 300, stratify: decision}
mutability:
  default: immutable
  features:
    amount:   {change: decrease, min: 250, step: 50, unit: DM, why: negotiable, owner: Credit Policy, approved: 2026-03-01}
    duration: {change: any, min: 4, max: 72, integer: true}
    savings:  {change: increase, order: ["<100", "100-500", "500-1000", ">1000"]}
  rules: ["duration <= 72 - 2 * existing_credits"]
regions:
  - {name: young applicants, where: "age < 26"}
  - {name: like applicant 17, around: 17, nearest: 50}
counterfactuals:
  flips:    {search: nearest,  per_row: 10, for: each,         constraints: domain}
  recourse: {search: cheapest, per_row: 3,  for: unfavourable, constraints: policy}
methods:
  - {kind: performance}
  - {kind: flex, from: flips, min_change: 0.0, regions: all}
  - {kind: shap}
  - {kind: agreement, of: [flex, shap]}
  - {kind: reasons, from: flips, top: 4}
  - {kind: recourse, from: recourse, by: [sex, age_group]}
gates:
  - {metric: performance.auc, at_least: 0.75}
  - {metric: recourse.feasible_rate, by: sex, gap_at_most: 0.05, severity: major}
report: {formats: [html, pdf], template: standard, opinion: {word: qualified, by: A. Validator, text: opinion.md}}
run: {seed: 7, workers: 2, part_rows: 1000}
"""
"""The spec of design.md section 8, word for word but its comments."""
