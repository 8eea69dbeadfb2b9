// Means and intervals of runs.

export const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;

/** Return mean and half-width of the t interval of runs; `quantile` belongs to their number. */
export function interval(runs, quantile) {
  const n = runs.length, middle = mean(runs);
  const squares = runs.reduce((sum, v) => sum + (v - middle) ** 2, 0);
  return { mean: middle, half: quantile * Math.sqrt(squares / (n - 1) / n) };
}
