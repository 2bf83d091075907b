/* hiss_board.h: frames between a board that runs a model and the computer that checks it.

   A frame is COBS between zero bytes. Decoded:  type u8 | seq u16 | t_us u32 | payload | crc u16,  all little-endian;
   crc is CRC-16/CCITT-FALSE of what stands before it. Every answer carries seq and t_us of what it answers.

     to the board                              from the board
     'i' offset u16                            'I' offset u16, length u16, up to HISS_BOARD_INFO bytes of the info (JSON)
     'x' one sample, as the step takes it      'y' flags u8, state u32, and with flag 1 the estimate
     't' tare: all anew     'r' reset          'y' as above, without an estimate
                                               'E' reason u8: 1 unknown type, 2 wrong length

   state is the CRC-32 of the model's struct without its scratch: equal structs, equal numbers. A sample that comes again
   with the same seq (its answer was lost) is answered again and not stepped again. Damaged frames are not answered. */

#ifndef HISS_BOARD_H
#define HISS_BOARD_H

#include "hiss_base.h"

#ifdef __cplusplus
extern "C" {
#endif

#define HISS_BOARD_VERSION 1
#define HISS_BOARD_HEAD 7U /* bytes before the payload */
#define HISS_BOARD_INFO 48U
/* Bytes that a frame with so much payload takes, with what COBS adds on the way in or out. */
#define HISS_BOARD_ROOM(payload) ((payload) + ((payload) + 9U) / 254U + 11U)

#define HISS_BOARD_UNKNOWN_TYPE 1U
#define HISS_BOARD_WRONG_LENGTH 2U
#define HISS_BOARD_NEW 1U    /* flag of 'y': the estimate is in it */
#define HISS_BOARD_TARING 2U /* flag of 'y': the tare is being measured */

/* The transport: two functions. get: the next byte that has come, or -1;  put: send all of them, may wait. */
typedef int16_t (*hiss_board_get)(void *port);
typedef void (*hiss_board_put)(void *port, const uint8_t *bytes, size_t count);

typedef struct {
    hiss_board_get get;
    hiss_board_put put;
    void *port;
    uint8_t *bytes;
    size_t room;
    size_t count;
    bool overrun;
} hiss_link_t;

/* room: HISS_BOARD_ROOM of the longest payload. */
void hiss_link_begin(hiss_link_t *self, hiss_board_get get, hiss_board_put put, void *port, uint8_t *bytes, size_t room);
/* Take bytes until a whole frame has come: its length without the crc, and the frame in `bytes`. 0: none yet. */
size_t hiss_link_receive(hiss_link_t *self);
/* Where the payload of an answer is to be written. It may overlap the frame that came. */
uint8_t *hiss_link_payload(hiss_link_t *self);
/* Send what was written there. head: type, seq and t_us as they go out. */
void hiss_link_send(hiss_link_t *self, const uint8_t *head, size_t payload);

uint16_t hiss_crc16(const uint8_t *bytes, size_t count);
/* CRC-32 (zlib's) of what was counted before and these bytes; begin with 0. */
uint32_t hiss_crc32(uint32_t before, const uint8_t *bytes, size_t count);

#ifdef __cplusplus
}
#endif
#endif
