/* rope.c - rotary angles. */
#include "worker/model/rope.h"

#include <stddef.h>

#include "worker/model/exact_math.h"

void rope_table(const struct model_shape *shape, uint32_t positions, float *table)
{
    const uint32_t half = shape->head_dim / 2;
    const double log_theta = exact_log((double)shape->rope_theta);
    for (uint32_t i = 0; i < half; i++) {
        double exponent = (double)((float)(2 * i) / (float)shape->head_dim);
        float frequency = 1.0f / (float)exact_exp(exponent * log_theta);
        for (uint32_t position = 0; position < positions; position++) {
            float angle = (float)position * frequency;
            double sine;
            double cosine;
            exact_sine_cosine((double)angle, &sine, &cosine);
            table[(size_t)position * 2 * half + i] = (float)cosine;
            table[(size_t)position * 2 * half + half + i] = (float)sine;
        }
    }
}
