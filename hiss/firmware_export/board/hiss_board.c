/* hiss_board.c: frames of hiss_board.h. */

#include "hiss_board.h"

static const uint32_t crc32_of_nibble[16] HISS_TABLE = {
    UINT32_C(0x00000000), UINT32_C(0x1db71064), UINT32_C(0x3b6e20c8), UINT32_C(0x26d930ac),
    UINT32_C(0x76dc4190), UINT32_C(0x6b6b51f4), UINT32_C(0x4db26158), UINT32_C(0x5005713c),
    UINT32_C(0xedb88320), UINT32_C(0xf00f9344), UINT32_C(0xd6d6a3e8), UINT32_C(0xcb61b38c),
    UINT32_C(0x9b64c2b0), UINT32_C(0x86d3d2d4), UINT32_C(0xa00ae278), UINT32_C(0xbdbdf21c),
};

static uint32_t nibble(uint32_t crc)
{
    return (crc >> 4) ^ (uint32_t)HISS_I32(crc32_of_nibble + (crc & 15U));
}

uint32_t hiss_crc32(uint32_t before, const uint8_t *bytes, size_t count)
{
    uint32_t crc = ~before;
    for (size_t i = 0; i < count; ++i) {
        crc = nibble(nibble(crc ^ bytes[i]));
    }
    return ~crc;
}

uint16_t hiss_crc16(const uint8_t *bytes, size_t count)
{
    uint32_t crc = 0xFFFFU;
    for (size_t i = 0; i < count; ++i) {
        crc ^= (uint32_t)bytes[i] << 8;
        for (int bit = 0; bit < 8; ++bit) {
            crc = (crc & 0x8000U) != 0U ? (crc << 1) ^ 0x1021U : crc << 1;
        }
        crc &= 0xFFFFU;
    }
    return (uint16_t)crc;
}

/* ---- COBS ---- */

/* In place: the result is shorter. 0 where the bytes are no COBS. */
static size_t cobs_decode(uint8_t *bytes, size_t count)
{
    size_t made = 0;
    size_t at = 0;
    while (at < count) {
        const size_t code = bytes[at];
        if (at + code > count) {
            return 0;
        }
        for (size_t i = 1; i < code; ++i) {
            bytes[made++] = bytes[at + i];
        }
        at += code;
        if (code < 255U && at < count) {
            bytes[made++] = 0;
        }
    }
    return made;
}

/* frame lies behind `to` in one buffer, at least 1 + count / 254 bytes later: no byte is written before it was read. */
static size_t cobs_encode(uint8_t *to, const uint8_t *frame, size_t count)
{
    size_t code_at = 0;
    size_t made = 1;
    for (size_t i = 0; i < count; ++i) {
        const uint8_t byte = frame[i];
        if (made - code_at == 255U) {
            to[code_at] = 255U;
            code_at = made++;
        }
        if (byte == 0U) {
            to[code_at] = (uint8_t)(made - code_at);
            code_at = made++;
        } else {
            to[made++] = byte;
        }
    }
    to[code_at] = (uint8_t)(made - code_at);
    return made;
}

/* ---- frames ---- */

void hiss_link_begin(hiss_link_t *self, hiss_board_get get, hiss_board_put put, void *port, uint8_t *bytes, size_t room)
{
    self->get = get;
    self->put = put;
    self->port = port;
    self->bytes = bytes;
    self->room = room;
    self->count = 0;
    self->overrun = false;
}

/* The length without the crc; 0 where the frame is damaged. */
static size_t checked(hiss_link_t *self)
{
    const size_t count = self->overrun ? 0U : cobs_decode(self->bytes, self->count);
    self->count = 0;
    self->overrun = false;
    if (count < HISS_BOARD_HEAD + 2U) {
        return 0;
    }
    const uint32_t stated = (uint32_t)self->bytes[count - 2U] | (uint32_t)self->bytes[count - 1U] << 8;
    return stated == hiss_crc16(self->bytes, count - 2U) ? count - 2U : 0U;
}

size_t hiss_link_receive(hiss_link_t *self)
{
    for (int16_t byte = self->get(self->port); byte >= 0; byte = self->get(self->port)) {
        if (byte == 0) {
            const size_t count = checked(self);
            if (count > 0U) {
                return count;
            }
        } else if (self->count < self->room) {
            self->bytes[self->count++] = (uint8_t)byte;
        } else {
            self->overrun = true;
        }
    }
    return 0;
}

/* What COBS adds at the front while it encodes. */
static size_t slack(const hiss_link_t *self) { return 1U + self->room / 254U; }

uint8_t *hiss_link_payload(hiss_link_t *self) { return self->bytes + slack(self) + HISS_BOARD_HEAD; }

void hiss_link_send(hiss_link_t *self, const uint8_t *head, size_t payload)
{
    uint8_t *frame = self->bytes + slack(self);
    size_t count = HISS_BOARD_HEAD + payload;
    for (size_t i = 0; i < HISS_BOARD_HEAD; ++i) {
        frame[i] = head[i];
    }
    const uint16_t crc = hiss_crc16(frame, count);
    frame[count++] = (uint8_t)(crc & 255U);
    frame[count++] = (uint8_t)(crc >> 8);
    count = cobs_encode(self->bytes, frame, count);
    self->bytes[count++] = 0;
    self->put(self->port, self->bytes, count);
}
