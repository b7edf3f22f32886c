/* exact_math.h - exp, log, sine and cosine in double from + - x / alone, so that their bits do not
 * depend on a C library. For tables and a few numbers per row, not for bulk work. Pure. */
#ifndef PFT_EXACT_MATH_H
#define PFT_EXACT_MATH_H

/* e^x; 0 below -708, infinite above 709; NaN stays NaN. Relative error below 1e-15. */
double exact_exp(double x);

/* ln x of a positive normal x; NaN for anything else. Relative error below 1e-15. */
double exact_log(double x);

/* Sine and cosine of 0 <= x <= 2^20 radians; absolute error below 1e-15. */
void exact_sine_cosine(double x, double *sine, double *cosine);

#endif
