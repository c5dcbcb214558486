/* Made by gamma.sollya, which says how: do not edit. */
#ifndef BACKENDS_GAMMA_COEFFICIENTS_H
#define BACKENDS_GAMMA_COEFFICIENTS_H

/* log(2 pi) / 2 - 1/2 in two parts, the first with few bits. */
#define STIRLING_HEAD 0x1.adp-2
#define STIRLING_TAIL -0x1.c6f368296b2dbp-18

/* x (log Gamma(x) - (x - 1/2) log x + x - log(2 pi) / 2) in 1 / x^2 for x >= 3:
 * relative error 2^-51.8 (supnorm) of the interpolant, which is within 2^-131.8. */
#define STIRLING_0 0x1.5555555555554p-4
#define STIRLING_1 -0x1.6c16c16bfd1cfp-9
#define STIRLING_2 0x1.a01a010440598p-11
#define STIRLING_3 -0x1.381324cbe5bf8p-11
#define STIRLING_4 0x1.b93574cbcb196p-11
#define STIRLING_5 -0x1.f40f81c917aabp-10
#define STIRLING_6 0x1.9043de092a8c6p-8
#define STIRLING_7 -0x1.7c56f02ff959p-6
#define STIRLING_8 0x1.530febff5a4d4p-4
#define STIRLING_9 -0x1.b49bee0abd43dp-3
#define STIRLING_10 0x1.1743b6540d8e6p-2

/* log Gamma(2 + t) / t for -1/2 <= t <= 1:
 * relative error 2^-55.6 (supnorm) of the interpolant, which is within 2^-130.4. */
#define LOG_GAMMA_0 0x1.b0ee6072093cep-2
#define LOG_GAMMA_1 0x1.4a34cc4a60fa4p-2
#define LOG_GAMMA_2 -0x1.13e001a5575d7p-4
#define LOG_GAMMA_3 0x1.51322ac7d98bp-6
#define LOG_GAMMA_4 -0x1.e404fc2198648p-8
#define LOG_GAMMA_5 0x1.7add6eac0dcdbp-9
#define LOG_GAMMA_6 -0x1.38ac5c273f0a6p-10
#define LOG_GAMMA_7 0x1.0b36b00470064p-11
#define LOG_GAMMA_8 -0x1.d3fd4fb2bb6c2p-13
#define LOG_GAMMA_9 0x1.a1278a3c6ffa1p-14
#define LOG_GAMMA_10 -0x1.78ddb837caa4ep-15
#define LOG_GAMMA_11 0x1.5810cffcae912p-16
#define LOG_GAMMA_12 -0x1.3cceaecc0d9f7p-17
#define LOG_GAMMA_13 0x1.2583e543ef714p-18
#define LOG_GAMMA_14 -0x1.10a19459e6ae2p-19
#define LOG_GAMMA_15 0x1.fea58c63c0f24p-21
#define LOG_GAMMA_16 -0x1.f064497f9133fp-22
#define LOG_GAMMA_17 0x1.ef98928c2fa2p-23
#define LOG_GAMMA_18 -0x1.b47344c0c0998p-24
#define LOG_GAMMA_19 0x1.077d86becd07fp-25
#define LOG_GAMMA_20 -0x1.2d004f1285b21p-28

/* (1 / Gamma(2 + t) - 1) / t for -1/2 <= t <= 1:
 * relative error 2^-56.2 (supnorm) of the interpolant, which is within 2^-165.7. */
#define RECIPROCAL_0 -0x1.b0ee6072093cep-2
#define RECIPROCAL_1 -0x1.dd603fb6ac11bp-3
#define RECIPROCAL_2 0x1.875ac578224f8p-3
#define RECIPROCAL_3 -0x1.92449b66f2a82p-6
#define RECIPROCAL_4 -0x1.21198511747d6p-6
#define RECIPROCAL_5 0x1.06e8179e67224p-7
#define RECIPROCAL_6 -0x1.a5b350a83a2f2p-11
#define RECIPROCAL_7 -0x1.7a5da9eacabc6p-12
#define RECIPROCAL_8 0x1.3156558f74707p-13
#define RECIPROCAL_9 -0x1.265ee573c67f9p-16
#define RECIPROCAL_10 -0x1.5b7d5627273a7p-19
#define RECIPROCAL_11 0x1.674d5b5fb5752p-20
#define RECIPROCAL_12 -0x1.b93bfe63891acp-23
#define RECIPROCAL_13 -0x1.73711b7578b0fp-33
#define RECIPROCAL_14 0x1.aeae00ac60b12p-28
#define RECIPROCAL_15 -0x1.5a6a8209d71d4p-30
#define RECIPROCAL_16 0x1.9d10c42edfaecp-34
#define RECIPROCAL_17 0x1.a5f7714a22ff4p-39

/* (atanh(s) - s) / s^3 in s^2 for 1 + f = (1 + s) / (1 - s) above sqrt(1/2):
 * relative error 2^-53.9 (supnorm) of the interpolant, which is within 2^-286.3. */
#define ATANH_0 0x1.5555555555555p-2
#define ATANH_1 0x1.9999999999d59p-3
#define ATANH_2 0x1.249249242ee17p-3
#define ATANH_3 0x1.c71c725c5fa92p-4
#define ATANH_4 0x1.745cdb74b755cp-4
#define ATANH_5 0x1.3b21594e6761ep-4
#define ATANH_6 0x1.0f4a12284373fp-4
#define ATANH_7 0x1.1023dbad3d40ep-4

#endif
