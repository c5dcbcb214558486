/* Made by bessel.sollya, which says how: do not edit. */
#ifndef BACKENDS_BESSEL_COEFFICIENTS_H
#define BACKENDS_BESSEL_COEFFICIENTS_H

/* The squares of the first two zeros, in two parts, the second as a multiple of 2^-47. */
#define ZERO1 0x1.721fb80462bbbp2
#define ZERO1_REST 0x1.db60c816c15d3p-52
#define ZERO2 0x1.e78a4a621dd6ep4
#define ZERO2_REST 0x1.dde5075f6efb3p-49

/* pi in three parts, the first two with 35 bits: exact times 17 bits. */
#define PI_HEAD 0x1.921fb5444p1
#define PI_MIDDLE 0x1.68c234c4cp-38
#define PI_TAIL 0x1.98a2e03707345p-76
#define ONE_OVER_PI 0x1.45f306dc9c883p-2

/* sqrt(x) |J0(x) + i Y0(x)| in 1 / x^2 for x >= 8:
 * relative error 2^-55.7 (supnorm) of the interpolant, which is within 2^-104.3. */
#define MODULUS_REST 0x1.ba4481d891967p-55
#define MODULUS_0 0x1.9884533d4365p-1
#define MODULUS_1 -0x1.9884533d3a2a7p-5
#define MODULUS_2 0x1.524d94b36bfb5p-4
#define MODULUS_3 -0x1.bb85deee1a428p-2
#define MODULUS_4 0x1.2a9ce1baa8253p2
#define MODULUS_5 -0x1.53e1f52cdf8cbp6
#define MODULUS_6 0x1.1d77d82763934p11
#define MODULUS_7 -0x1.2c9e36ede995ap16
#define MODULUS_8 0x1.41b61232e54e4p21
#define MODULUS_9 -0x1.1b2d033f65a31p26
#define MODULUS_10 0x1.4c94609e4f67p30
#define MODULUS_11 -0x1.74efc9f975592p33

/* x (x - pi / 4 - arg(J0(x) + i Y0(x))) in 1 / x^2 for x >= 8:
 * relative error 2^-51.9 (supnorm) of the interpolant, which is within 2^-97.2. */
#define PHASE_0 0x1.ffffffffffffep-4
#define PHASE_1 -0x1.0aaaaaaa9fe2dp-4
#define PHASE_2 0x1.ad3332e262fd6p-3
#define PHASE_3 -0x1.a3580cd097113p0
#define PHASE_4 0x1.778e3ee5707c8p4
#define PHASE_5 -0x1.0b1bdc7872596p9
#define PHASE_6 0x1.0f758e29e5e8ep14
#define PHASE_7 -0x1.5a76e455fa0dap19
#define PHASE_8 0x1.d31ef78f6b27fp24
#define PHASE_9 -0x1.168c15fe56614p30
#define PHASE_10 0x1.f6a71849f21e7p34
#define PHASE_11 -0x1.222bf720c47e2p39
#define PHASE_12 0x1.39ed911193363p42

/* (sin(r) - r) / r^3 in r^2 for |r| <= 1.6:
 * relative error 2^-53.9 (supnorm) of the interpolant, which is within 2^-319.3. */
#define SINE_0 -0x1.5555555555555p-3
#define SINE_1 0x1.11111111110bbp-7
#define SINE_2 -0x1.a01a01a013905p-13
#define SINE_3 0x1.71de3a51e9ec2p-19
#define SINE_4 -0x1.ae645472bd5a4p-26
#define SINE_5 0x1.6123b1f7d398fp-33
#define SINE_6 -0x1.ae3c059ddabf7p-41
#define SINE_7 0x1.87605d55b6ffp-49

/* (J0(x) - 1) / x^2 in x^2 for |x| <= 2:
 * relative error 2^-59.9 (supnorm) of the interpolant, which is within 2^-319.9. */
#define NEAR_0 -0x1p-2
#define NEAR_1 0x1.ffffffffffffdp-7
#define NEAR_2 -0x1.c71c71c71c459p-12
#define NEAR_3 0x1.c71c71c6ff96cp-18
#define NEAR_4 -0x1.2345678065b5ep-24
#define NEAR_5 0x1.02e858b3215e5p-31
#define NEAR_6 -0x1.5228dbb1e166p-39
#define NEAR_7 0x1.51d182289ba82p-47
#define NEAR_8 -0x1.feb4a7066da44p-56

/* J0(x) / ((x^2 - zero1) (x^2 - zero2)) in x^2 - 32 for 4 <= x^2 <= 32:
 * relative error 2^-54.2 (supnorm) of the interpolant, which is within 2^-291.7. */
#define LOWER_0 0x1.2bc29174dd587p-10
#define LOWER_1 -0x1.15d87e4b8d5c2p-14
#define LOWER_2 0x1.99e65104a63b6p-20
#define LOWER_3 -0x1.5059ea6a00e8ep-26
#define LOWER_4 0x1.6409a6fbbc207p-33
#define LOWER_5 -0x1.08db6a57e0197p-40
#define LOWER_6 0x1.250f4e5d87811p-48
#define LOWER_7 -0x1.f634bec88b586p-57
#define LOWER_8 0x1.5773d4ce7043p-65
#define LOWER_9 -0x1.80f59fa258837p-74
#define LOWER_10 0x1.5c23bea25b223p-83
#define LOWER_11 -0x1.5b019cf55307p-92
#define LOWER_12 0x1.245240c68750bp-105

/* J0(x) / ((x^2 - zero1) (x^2 - zero2)) in x^2 - 64 for 32 <= x^2 <= 64:
 * relative error 2^-55.2 (supnorm) of the interpolant, which is within 2^-290.1. */
#define UPPER_0 0x1.70d77f560145cp-14
#define UPPER_1 -0x1.86c89ec148fc8p-17
#define UPPER_2 0x1.a1fee49614edbp-22
#define UPPER_3 -0x1.ae528ba67bc3ep-28
#define UPPER_4 0x1.0a698d09fd48p-34
#define UPPER_5 -0x1.bd3c2eda14228p-42
#define UPPER_6 0x1.0d97874b5a5c3p-49
#define UPPER_7 -0x1.f0aff53283446p-58
#define UPPER_8 0x1.68935ae62a1cdp-66
#define UPPER_9 -0x1.a7d516ddd1483p-75
#define UPPER_10 0x1.9cdb25da1c973p-84
#define UPPER_11 -0x1.48856bc0ccaddp-93
#define UPPER_12 0x1.23426534f6f04p-102

#endif
