/* Arguments of circular functions reduced modulo pi / 2, whatever their size.
 *
 * M. H. Payne and R. N. Hanek, Radian reduction for trigonometric functions, SIGNUM Newsletter 18,
 * 1983: of the digits of 1 / (2 pi) only those count that neither make whole turns nor vanish.
 */
#ifndef BACKENDS_PAYNE_HANEK_H
#define BACKENDS_PAYNE_HANEK_H

#include "lanes.h"

#include "payne_hanek_coefficients.h"

/* x = n pi / 2 + y - y_less: y_less is to be taken off so that signs of zero come out right. */
struct quadrant {
    uint64_t n;
    double y, y_less;
};

/* Digits of 32 bits that the part of a turn is computed to. No double is nearer than 2^-64 turns
 * to a quarter, and the digits left out count for less than 2^(53 - 192): 75 bits are right. */
#define TURN_DIGITS 6

/* For finite |x| >= 2^-12. */
static struct quadrant pio2_reduce_huge(double x)
{
    const uint64_t low_half = UINT64_C(0xffffffff), sign = UINT64_C(0x8000000000000000);
    const uint64_t size = bits_of(x) & ~sign;
    const uint64_t significand = (size & UINT64_C(0x000fffffffffffff)) | UINT64_C(1) << 52;
    const uint64_t low = significand & low_half, high = significand >> 32;

    /* x / (2 pi) is the significand times 2^position PER_TURN. */
    const unsigned position = (unsigned)(size >> 52) - (1023 + 52 - 64);
    const uint32_t *digits = PER_TURN + position / 32;
    uint64_t turn[TURN_DIGITS], carry = 0, below = 0;
    for (int i = TURN_DIGITS - 1; i >= 0; i--) {
        const uint64_t two = (uint64_t)digits[i] << 32 | digits[i + 1];
        const uint64_t digit = two << position % 32 >> 32;
        const uint64_t a = digit * low, b = below * high;
        const uint64_t sum = (a & low_half) + (b & low_half) + carry;
        turn[i] = sum & low_half;
        carry = (a >> 32) + (b >> 32) + (sum >> 32);
        below = digit;
    }

    /* The nearest quarter off, and what is negative then made positive: complemented, since one in
     * the last place is beyond what is right anyway. */
    const uint64_t quarters = (turn[0] + (UINT64_C(1) << 29)) >> 30;
    turn[0] = (turn[0] - (quarters << 30)) & low_half;
    const uint64_t negative = turn[0] >> 31, complement = negative ? low_half : 0;
    for (int i = 0; i < TURN_DIGITS; i++) {
        turn[i] ^= complement;
    }

    /* Four digits from the first that is not 0, which is one of the first two, make head + tail;
     * the head's bits fit a double. */
    const uint64_t *first = turn[0] ? turn : turn + 1;
    const double unit = turn[0] ? 0x1p-64 : 0x1p-96;
    const uint64_t top = first[0] << 32 | first[1], rest = first[2] << 32 | first[3];
    const double head = (double)(top & ~UINT64_C(2047)) * unit;
    const double tail = ((double)(top & 2047) + (double)rest * 0x1p-64) * unit;

    const double angle = head * TURN_HEAD;
    const double angle_lo = FMA(head, TURN_TAIL, tail * TURN_HEAD)
                            + product_error(head, TURN_HEAD, angle);
    const double y = angle + angle_lo, y_lo = sum_error(angle, angle_lo, y);
    const uint64_t flip = (bits_of(x) & sign) ^ negative << 63;
    return (struct quadrant){
        bits_of(x) & sign ? 0 - quarters : quarters,
        from_bits(bits_of(y) ^ flip),
        from_bits(bits_of(-y_lo) ^ flip),
    };
}

#endif
