/* Made by elementary.sollya, which says how: do not edit. */
#ifndef BACKENDS_ELEMENTARY_COEFFICIENTS_H
#define BACKENDS_ELEMENTARY_COEFFICIENTS_H

#define LOG2_E 0x1.71547652b82fep0
/* log 2 in two parts: 11 bits of quotient. */
#define LN2_HEAD 0x1.62e42fefa38p-1
#define LN2_TAIL 0x1.ef35793c7673p-45

#define TWO_OVER_PI 0x1.45f306dc9c883p-1
/* pi / 2 in three parts, and up to which argument they will do: a quotient of 26 bits
 * with FMA, of 17 bits without. */
#if HAVE_FMA
#define PIO2_HEAD 0x1.921fb54442d18p0
#define PIO2_MIDDLE 0x1.1a6263p-54
#define PIO2_TAIL 0x1.8a2e03707344ap-81
#define PIO2_LIMIT 0x1.7d784p26
#else
#define PIO2_HEAD 0x1.921fb5444p0
#define PIO2_MIDDLE 0x1.68c234c4cp-39
#define PIO2_TAIL 0x1.98a2e03707345p-77
#define PIO2_LIMIT 0x1.86ap17
#endif

/* exp(x) = 1 + x + x^2 (EXP_0 + EXP_1 x + ...), |x| < 0.34665:
 * relative error below 2^-57 */
#define EXP_0 0x1.000000000000ap-1
#define EXP_1 0x1.55555555554fep-3
#define EXP_2 0x1.55555555506b4p-5
#define EXP_3 0x1.1111111126b32p-7
#define EXP_4 0x1.6c16c18479ce6p-10
#define EXP_5 0x1.a01a012ff465fp-13
#define EXP_6 0x1.a01999558715ap-16
#define EXP_7 0x1.71df18d48c5d8p-19
#define EXP_8 0x1.28ae06e4014eap-22
#define EXP_9 0x1.ad932d517796p-26

/* sin(x) = x - x^3 (SIN_0 + SIN_1 x^2 + ...), |x| < 0.78545:
 * relative error below 2^-57 */
#define SIN_0 0x1.5555555555548p-3
#define SIN_1 -0x1.111111110f75ep-7
#define SIN_2 0x1.a01a019bf2583p-13
#define SIN_3 -0x1.71de355f414e6p-19
#define SIN_4 0x1.ae5e54a96fba6p-26
#define SIN_5 -0x1.5d8e47357ea5fp-33

/* cos(x) = 1 - x^2 / 2 + x^4 (COS_0 + COS_1 x^2 + ...), |x| < 0.78545:
 * relative error below 2^-63 */
#define COS_0 0x1.555555555554bp-5
#define COS_1 -0x1.6c16c16c15017p-10
#define COS_2 0x1.a01a019c8f698p-16
#define COS_3 -0x1.27e4f7f1c5c5dp-22
#define COS_4 0x1.1ee9dbf1a38b8p-29
#define COS_5 -0x1.8fa695257fafep-37

/* 2 atanh(x) = 2 x + x^3 (LOG_0 + LOG_1 x^2 + ...), |x| < 0.171573:
 * relative error below 2^-59 */
#define LOG_0 0x1.5555555555592p-1
#define LOG_1 0x1.999999997ff67p-2
#define LOG_2 0x1.24924941dafd1p-2
#define LOG_3 0x1.c71c521a5c27fp-3
#define LOG_4 0x1.74663b9563fa9p-3
#define LOG_5 0x1.39a20d0791fb7p-3
#define LOG_6 0x1.2f0243dd5c4b4p-3

/* 2 atanh(x / 2) = x + x^3 / 12 + x^5 / 80 + x^7 (LOGP_0 + ...), |x| < 0.343146:
 * relative error below 2^-72 */
#define ONE_12TH 0x1.5555555555555p-4
#define ONE_12TH_REST 0x1.5555555555555p-58
#define ONE_80TH 0x1.999999999999ap-7
#define ONE_80TH_REST -0x1.999999999999ap-61
#define LOGP_0 0x1.24924924927cap-9
#define LOGP_1 0x1.c71c71c65aa77p-12
#define LOGP_2 0x1.745d17d706357p-14
#define LOGP_3 0x1.3b1378501b943p-16
#define LOGP_4 0x1.111dc9e420e8fp-18
#define LOGP_5 0x1.de9f45cb8c98p-21
#define LOGP_6 0x1.e7d9584ea6c45p-23

#endif
