/* Made by gaussian.sollya, which says how: do not edit. The errors are relative unless
 * they say otherwise, the largest on the grids of the fits, coefficients rounded. */
#ifndef BACKENDS_GAUSSIAN_COEFFICIENTS_H
#define BACKENDS_GAUSSIAN_COEFFICIENTS_H

/* erf(x) = x + x P(x^2) for |x| <= 1: error below 2^-56 */
static const double ERF_SMALL[] = {
    0x1.06eba8214db68p-3,
    -0x1.812746b0379b1p-2,
    0x1.ce2f21a04082bp-4,
    -0x1.b82ce311eb82dp-6,
    0x1.565bccf791bedp-8,
    -0x1.c02db008d5041p-11,
    0x1.f9a2b642afb27p-14,
    -0x1.f4ca1040bd19dp-17,
    0x1.b97da9e967b41p-20,
    -0x1.5bfadd98957b8p-23,
    0x1.d6cb9c0cba033p-27,
    -0x1.aacf1daf58275p-31,
};

/* erf(x) = 1 - P(x - 1)^4 for 1 <= x <= 6: absolute error below 2^-56.9 */
static const double ERF_LARGE[] = {
    0x1.427126547746ep-1,
    -0x1.a974fbfa9be23p-2,
    0x1.1ad5cbacd3718p-8,
    0x1.a0e537aeb5f2cp-5,
    -0x1.082c9d17fe21cp-8,
    -0x1.43259892208a5p-8,
    0x1.9743a7d6061e1p-11,
    0x1.367ffa0a78ce4p-12,
    -0x1.33e1687e10ep-14,
    -0x1.3ebba0c76f9b6p-17,
    0x1.e60e6ede67de3p-19,
    0x1.1ffbd094f0cf3p-22,
    -0x1.305464ecdc886p-23,
    -0x1.add148aa07c48p-28,
    0x1.073b23bd0688fp-29,
    0x1.47dcf2685cb2ap-29,
    -0x1.0d0e7b40c124dp-30,
    0x1.857b44ca6ec05p-33,
    -0x1.3adb965e7685ap-36,
    0x1.16d9a7ad63286p-40,
    -0x1.a90dda5d4db37p-46,
};
#define ERF_LARGE_0_REST -0x1.127be7e16be8p-55

/* erfc(x) = exp(8 u - x^2) w P(u), w = 1 / (x + 4), u = w - 5/32: error below 2^-58.9 */
static const double ERFC[] = {
    0x1.65fd02f9f1fb5p0,
    0x1.73afbc1b634ep-1,
    0x1.1727e4a0f66bep5,
    0x1.7a149434388a2p6,
    0x1.aff6e1a421c7bp8,
    0x1.910dddb1176d3p9,
    -0x1.06ca7895f4028p6,
    -0x1.09a30076c71c2p13,
    -0x1.a78d46c013888p14,
    -0x1.6aaee4dbc7fd5p8,
    0x1.eef030b08f757p17,
    0x1.0f7dd1992910cp19,
    -0x1.4b8aee85b39a4p20,
    -0x1.c2f27a123e9c7p22,
    0x1.b50ef11899575p21,
    0x1.1dcc09b45c11fp26,
    0x1.64fb56d7ee444p24,
    -0x1.595fcfe6fcf48p29,
    -0x1.0461ccb26556ap29,
    0x1.9ebf1d1346e5ap32,
    0x1.0421774306d0bp33,
    -0x1.82b24af033c71p35,
    -0x1.b271a593e2a3cp36,
};
#define ERFC_0_REST -0x1.e558201cc7b8p-54

/* ndtr(-x) = exp(8 u - x^2 / 2) w P(u), w = 1 / (x + 5), u = w - 1/8: error below 2^-58.2 */
static const double NDTR[] = {
    0x1.f1b89c231e9b8p-1,
    0x1.0795182ea1addp1,
    0x1.06e089404d252p5,
    0x1.d3842835980bp6,
    0x1.8a782fd55d6f8p8,
    0x1.37af436755d9cp3,
    -0x1.4b3ea2c09a54cp12,
    -0x1.3d236ff5eebeap14,
    0x1.d38a0383b0fa1p13,
    0x1.469fedd6aa3d6p18,
    0x1.c78fa2bbd06e1p18,
    -0x1.01d7e965103fp22,
    -0x1.6eefe10114ec5p23,
    0x1.a03158f080a42p25,
    0x1.90be7e79c0f88p27,
    -0x1.89ffc9fda99c6p29,
    -0x1.7ebd9037e3b62p31,
    0x1.b8d38c040dab4p33,
    0x1.546df559f0e93p35,
    -0x1.0130cb1a4d001p38,
    -0x1.508eb933150b7p39,
    0x1.b6236130287dap41,
    0x1.68116a1285b33p43,
};
#define NDTR_0_REST -0x1.e44066f78e58p-55

/* ndtri(1/2 + q) = q (3 + N(z) / D(z)), z = 0.425^2 - q^2: error below 2^-56 */
static const double NDTRI_UPPER[] = {
    0x1.8c6c8f4f77badp-2,
    0x1.2117ca5b2726p3,
    -0x1.80e20cffc6a17p5,
    -0x1.87f3c9e832b9bp11,
    -0x1.0e9787167cce1p15,
    -0x1.4560a2c692109p17,
    -0x1.6b4723e6faf17p18,
    -0x1.53d5125cb4bc3p18,
    -0x1.7f47a06dfa2f8p16,
    -0x1.74f08af0c768bp9,
};
static const double NDTRI_LOWER[] = {
    0x1p0,
    0x1.8d0a00a79b94p5,
    0x1.edd8eb0cbd207p9,
    0x1.3c17a45124f82p13,
    0x1.bd2d21f5b6667p15,
    0x1.56999f571ad38p17,
    0x1.0de27044c6eefp18,
    0x1.7675fdf6678ecp17,
    0x1.3d72fe1d255dbp15,
};

/* erfinv(x) = x (1 + N(z) / D(z)), z = 0.85^2 - x^2: error below 2^-56.5 */
static const double ERFINV_UPPER[] = {
    0x1.948bd210abe8ap-3,
    0x1.8d186194779afp0,
    0x1.573baeb9ab18p1,
    -0x1.ef08999b22d01p2,
    -0x1.12a827e584951p5,
    -0x1.79064795254a9p5,
    -0x1.c0447e72b881p4,
    -0x1.b32a6dcd56533p2,
    -0x1.f786c46ee2bc2p-2,
    -0x1.07b5484a74905p-10,
};
static const double ERFINV_LOWER[] = {
    0x1p0,
    0x1.8d0a00a79b94p3,
    0x1.edd8eb0cbd207p5,
    0x1.3c17a45124f82p7,
    0x1.bd2d21f5b6667p7,
    0x1.56999f571ad38p7,
    0x1.0de27044c6eefp6,
    0x1.7675fdf6678ecp3,
    0x1.3d72fe1d255dbp-1,
};

/* ndtri(p) = P(w - 1/8) - r, w = 1 / (r + 3), 2^-54 <= p <= 0.075: error below 2^-56 */
static const double NDTRI_NEAR[] = {
    0x1.3e320a2eeacfep-2,
    0x1.7ca3a942183fp0,
    -0x1.04442d01a6e85p3,
    -0x1.2653d9462df79p5,
    -0x1.c23e0f9e96454p7,
    -0x1.5ef2be837f68bp8,
    -0x1.08243cc879fd1p10,
    0x1.b4939a34bc288p13,
    0x1.8304572e3057ep14,
    0x1.b20f7f41bbffap18,
    -0x1.cf414ccff3593p19,
    0x1.b7024d58c86cfp22,
    -0x1.3b4de0bdce642p26,
    0x1.19aa9741819ep28,
    -0x1.869cbca72b23fp31,
    0x1.47d635c08fac2p34,
    -0x1.015cc1d83a1e4p37,
    0x1.5455d83edb171p39,
    -0x1.c958c1023d47bp39,
    -0x1.0f04bf1d6686ep41,
};

/* ndtri(p) = P(w - 1/32) - r, w = 1 / (r + 12), 2^-1022 <= p <= 2^-54: error below 2^-55.4 */
static const double NDTRI_FAR[] = {
    0x1.2b0fd3483cb1bp-3,
    0x1.3bcb95cc2a33p2,
    0x1.e1a9219b3df34p4,
    0x1.c4b7dfc86b34cp8,
    -0x1.d99503445d9f1p9,
    -0x1.47df1989f6bd6p13,
    -0x1.7ed066c5b7f4dp21,
    -0x1.166a224b8e7d7p25,
    -0x1.cd78daa1c454ep30,
    -0x1.e4394681fb601p33,
    -0x1.c9b6811c5cab1p39,
    -0x1.5774594e0d68ep41,
    -0x1.bb038d52dd05fp48,
    0x1.0b93e6fd85b1dp51,
    -0x1.0f6fcdcb68d93p58,
    0x1.29a2f1ec9680bp62,
    -0x1.003add048acbep67,
};

#define SQRT_HALF 0x1.6a09e667f3bcdp-1
#define SQRT_HALF_REST -0x1.bdd3413b26456p-55

#endif
