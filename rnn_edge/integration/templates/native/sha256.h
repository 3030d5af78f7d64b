/* SHA-256 (FIPS 180-4). */
#ifndef SHA256_H
#define SHA256_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The digest of `size` bytes in lower-case hexadecimal digits. */
void sha256_hex(const unsigned char *data, size_t size, char hex[65]);

#ifdef __cplusplus
}
#endif

#endif
