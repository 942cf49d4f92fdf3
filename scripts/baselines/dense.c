/* The baseline of benchmark_deploy.py: the same networks as plain dense C, one word at a time.

   Every weight takes part in every step. Per layer: N receivers, M senders, W (N, M) and U (N, N)
   row-major, U null without recurrence. Spikes of all steps are kept, (T, N), for the delays. */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define MOST 4096

typedef struct {
    int receivers, senders;
    const float *weight, *recurrent, *bias;
    const int32_t *delay;
    float *spikes; /* (T, N) */
} Layer;

static float dot(const float *a, const float *b, int n)
{
    float sum = 0.0f;
    for (int i = 0; i < n; ++i)
        sum += a[i] * b[i];
    return sum;
}

/* Outputs summed over time, (K,), of one word; layers[count] is the readout. v: (layers, MOST). */
void dense_run(const Layer *layers, int count, const float *frames, int steps, float leak,
               float threshold, int hard, float *sums)
{
    static float v[16][MOST], delayed[MOST];
    const Layer *readout = layers + count;
    memset(v, 0, sizeof v);
    memset(sums, 0, sizeof *sums * (size_t)readout->receivers);
    for (int t = 0; t < steps; ++t) {
        const float *x = frames + (size_t)t * (size_t)layers->senders;
        for (int l = 0; l < count; ++l) {
            const Layer *layer = layers + l;
            int n = layer->receivers;
            float *spikes = layer->spikes + (size_t)t * (size_t)n;
            if (layer->recurrent)
                for (int j = 0; j < n; ++j) {
                    int then = t - 1 - layer->delay[j];
                    delayed[j] = then < 0 ? 0.0f : layer->spikes[(size_t)then * (size_t)n + (size_t)j];
                }
            for (int i = 0; i < n; ++i) {
                size_t row = (size_t)i * (size_t)layer->senders;
                float h = leak * v[l][i] + layer->bias[i] + dot(layer->weight + row, x, layer->senders);
                if (layer->recurrent)
                    h += dot(layer->recurrent + (size_t)i * (size_t)n, delayed, n);
                spikes[i] = h >= threshold ? 1.0f : 0.0f;
                v[l][i] = h >= threshold ? (hard ? 0.0f : h - threshold) : h;
            }
            x = spikes;
        }
        for (int k = 0; k < readout->receivers; ++k)
            sums[k] += readout->bias[k] +
                       dot(readout->weight + (size_t)k * (size_t)readout->senders, x, readout->senders);
    }
}
