"""The layers that are no activations, as functions of C."""

from __future__ import annotations

from textwrap import dedent

FUNCTIONS = {
    "linear": """
        static void linear(int rows, int inputs, int outputs, const real *weight, const real *bias,
                           const real *x, real *y)
        {
            for (int row = 0; row < rows; row++, x += inputs, y += outputs) {
                const real *w = weight;
                for (int o = 0; o < outputs; o++)
                    y[o] = bias ? bias[o] : 0;
                for (int i = 0; i < inputs; i++, w += outputs)
                    for (int o = 0; o < outputs; o++)
                        y[o] += w[o] * x[i];
            }
        }
    """,
    "embedding": """
        static void embedding(int indices, int rows, int features, const real *weight, const int64_t *index, real *y)
        {
            for (int k = 0; k < indices; k++, y += features)
                for (int i = 0; i < features; i++)
                    y[i] = index[k] >= 0 && index[k] < rows ? weight[index[k] * features + i] : NAN;
        }
    """,
    "layer_norm": """
        static void layer_norm(int rows, int features, const real *weight, const real *bias, real eps, real *x)
        {
            for (int row = 0; row < rows; row++, x += features) {
                real mean = 0, variance = 0;
                for (int i = 0; i < features; i++)
                    mean += x[i];
                mean /= (real)features;
                for (int i = 0; i < features; i++)
                    variance += (x[i] - mean) * (x[i] - mean);
                const real scale = 1 / sqrt@(variance / (real)features + eps);
                for (int i = 0; i < features; i++) {
                    x[i] = (x[i] - mean) * scale;
                    if (weight)
                        x[i] *= weight[i];
                    if (bias)
                        x[i] += bias[i];
                }
            }
        }
    """,
    "rms_norm": """
        static void rms_norm(int rows, int features, const real *weight, real eps, real *x)
        {
            for (int row = 0; row < rows; row++, x += features) {
                real squares = 0;
                for (int i = 0; i < features; i++)
                    squares += x[i] * x[i];
                const real scale = 1 / sqrt@(squares / (real)features + eps);
                for (int i = 0; i < features; i++)
                    x[i] = weight ? x[i] * scale * weight[i] : x[i] * scale;
            }
        }
    """,
    "glu": """
        static void glu(int outer, int half, int inner, real *x)
        {
            real *y = x; /* behind which nothing is left that is still to be read */
            for (int k = 0; k < outer; k++, x += 2 * half * inner)
                for (int i = 0; i < half * inner; i++)
                    *y++ = x[i] / (1 + exp@(-x[i + half * inner]));
        }
    """,
    "batch_norm": """
        static void batch_norm(int features, int places, const real *mean, const real *variance, const real *weight,
                               const real *bias, real eps, real *x)
        {
            for (int i = 0; i < features; i++)
                for (int place = 0; place < places; place++, x++) {
                    *x = (*x - mean[i]) / sqrt@(variance[i] + eps);
                    if (weight)
                        *x *= weight[i];
                    if (bias)
                        *x += bias[i];
                }
        }
    """,
    "prelu": """
        static void prelu(int slopes, int places, const real *slope, real *x)
        {
            for (int i = 0; i < slopes; i++)
                for (int place = 0; place < places; place++, x++)
                    if (*x <= 0)
                        *x *= slope[i];
        }
    """,
    "softmax": """
        static void softmax(int outer, int features, int inner, real *x)
        {
            for (int k = 0; k < outer * inner; k++) {
                real *row = x + k / inner * features * inner + k % inner;
                real most = row[0], sum = 0;
                for (int i = 1; i < features; i++)
                    if (row[i * inner] > most)
                        most = row[i * inner];
                for (int i = 0; i < features; i++)
                    sum += row[i * inner] = exp@(row[i * inner] - most);
                for (int i = 0; i < features; i++)
                    row[i * inner] /= sum;
            }
        }
    """,
    "log_softmax": """
        static void log_softmax(int outer, int features, int inner, real *x)
        {
            for (int k = 0; k < outer * inner; k++) {
                real *row = x + k / inner * features * inner + k % inner;
                real most = row[0], sum = 0;
                for (int i = 1; i < features; i++)
                    if (row[i * inner] > most)
                        most = row[i * inner];
                for (int i = 0; i < features; i++)
                    sum += exp@(row[i * inner] - most);
                for (int i = 0; i < features; i++)
                    row[i * inner] = row[i * inner] - most - log@(sum);
            }
        }
    """,
}
"""The functions of layers, of which a file has those that it calls; "@" stands for the suffix of the dtype."""


def function_text(name: str, real: str) -> str:
    """Return a function for numbers of the type ``real``, "float" or "double"."""
    text = dedent(FUNCTIONS[name]).strip().replace("@", "f" if real == "float" else "")
    return text.replace("real", real) + "\n"
