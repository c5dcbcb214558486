/* Made by payne_hanek.sollya, which says how: do not edit. */
#ifndef BACKENDS_PAYNE_HANEK_COEFFICIENTS_H
#define BACKENDS_PAYNE_HANEK_COEFFICIENTS_H

/* 2^-64 / (2 pi): the digits after the point, of 32 bits each. */
static const uint32_t PER_TURN[] = {
    0x00000000, 0x00000000,
    0x28be60db, 0x9391054a, 0x7f09d5f4, 0x7d4d3770, 0x36d8a566, 0x4f10e410,
    0x7f9458ea, 0xf7aef158, 0x6dc91b8e, 0x909374b8, 0x01924bba, 0x82746487,
    0x3f877ac7, 0x2c4a69cf, 0xba208d7d, 0x4baed121, 0x3a671c09, 0xad17df90,
    0x4e64758e, 0x60d4ce7d, 0x272117e2, 0xef7e4a0e, 0xc7fe25ff, 0xf7816603,
    0xfbcbc462, 0xd6829b47, 0xdb4d9fb3, 0xc9f2c26d, 0xd3d18fd9, 0xa797fa8b,
    0x5d49eeb1, 0xfaf97c5e, 0xcf41ce7d, 0xe294a4ba, 0x9afed7ec, 0x47e35742,
    0x1580cc11,
};

/* 2 pi in two parts. */
#define TURN_HEAD 0x1.921fb54442d18p2
#define TURN_TAIL 0x1.1a62633145c07p-52

#endif
