/* exact_math.c - elementary functions by argument reduction and Taylor series. */
#include "worker/model/exact_math.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#define LN2_HIGH 0x1.62e42ffp-1 /* 32 bits: exact when multiplied by an exponent */
#define LN2_LOW (-0x1.718432a1b0e26p-35)
/* pi / 2 in three parts, the first two of 33 bits */
#define QUARTER_1 0x1.921fb544p+0
#define QUARTER_2 0x1.0b4611a6p-34
#define QUARTER_3 0x1.3198a2e037073p-69

/* 2^n for -1022 <= n <= 1023 */
static double power_of_two(int n)
{
    uint64_t bits = (uint64_t)(n + 1023) << 52;
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

static int nearest(double x)
{
    return (int)(x < 0 ? x - 0.5 : x + 0.5);
}

double exact_exp(double x)
{
    enum { TERMS = 14 };
    if (!(x <= 709.0)) {
        return x > 709.0 ? (double)INFINITY : x;
    }
    if (x < -708.0) {
        return 0.0;
    }
    int n = nearest(x * 0x1.71547652b82fep+0);
    double r = x - n * LN2_HIGH - n * LN2_LOW;
    double sum = 1.0;
    for (int i = TERMS; i > 0; i--) {
        sum = 1.0 + sum * r / i;
    }
    return sum * power_of_two(n);
}

double exact_log(double x)
{
    enum { TERMS = 11 };
    uint64_t bits;
    if (!(x >= 0x1p-1022) || x > 0x1.fffffffffffffp1023) {
        return (double)NAN;
    }
    memcpy(&bits, &x, sizeof bits);
    int n = (int)(bits >> 52) - 1023;
    bits = (bits & 0xfffffffffffffu) | (uint64_t)1023 << 52;
    double m;
    memcpy(&m, &bits, sizeof m);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        n++;
    }
    /* ln m = 2 artanh((m - 1) / (m + 1)) */
    double s = (m - 1.0) / (m + 1.0);
    double square = s * s;
    double sum = 0.0;
    for (int i = TERMS; i >= 0; i--) {
        sum = sum * square + 1.0 / (2 * i + 1);
    }
    return n * LN2_HIGH + (n * LN2_LOW + 2.0 * s * sum);
}

void exact_sine_cosine(double x, double *sine, double *cosine)
{
    enum { TERMS = 10 };
    int n = nearest(x * 0x1.45f306dc9c883p-1);
    double r = x - n * QUARTER_1 - n * QUARTER_2 - n * QUARTER_3;
    double square = r * r;
    double s = 1.0;
    double c = 1.0;
    for (int i = TERMS; i > 0; i--) {
        s = 1.0 - s * square / ((2 * i) * (2 * i + 1));
        c = 1.0 - c * square / ((2 * i - 1) * (2 * i));
    }
    s *= r;
    switch (n & 3) {
    case 0:
        *sine = s;
        *cosine = c;
        break;
    case 1:
        *sine = c;
        *cosine = -s;
        break;
    case 2:
        *sine = -s;
        *cosine = -c;
        break;
    default:
        *sine = -c;
        *cosine = s;
        break;
    }
}
