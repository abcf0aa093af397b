/* Batch hashing for the ledger (RFC 6962): one call for many digests, without the interpreter's
 * lock. */
#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>

#include "akios.h"

#define DIGEST_BYTES 32
#define PAIR_BYTES 64
#define LEAF_PREFIX 0x00
#define NODE_PREFIX 0x01
#define LENGTH_BYTES 2
#define WIDTH 256

/* OpenSSL 3 looks an algorithm up by name at each EVP_sha256() init; fetched once, it costs
 * nothing. Kept for the life of the process. */
static EVP_MD *sha256;
static pthread_once_t fetched = PTHREAD_ONCE_INIT;

static void fetch(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

static EVP_MD_CTX *new_context(void)
{
    pthread_once(&fetched, fetch);
    return sha256 == NULL ? NULL : EVP_MD_CTX_new();
}

static int hash_one(EVP_MD_CTX *context, uint8_t prefix, const uint8_t *data, size_t len,
                    uint8_t *out)
{
    return EVP_DigestInit_ex2(context, sha256, NULL) == 1 &&
                   EVP_DigestUpdate(context, &prefix, 1) == 1 &&
                   EVP_DigestUpdate(context, data, len) == 1 &&
                   EVP_DigestFinal_ex(context, out, NULL) == 1
               ? 0
               : -EIO;
}

int akios_sha256_bundle(const uint8_t *data, size_t len, size_t n, uint8_t *out)
{
    EVP_MD_CTX *context = new_context();
    int err = context == NULL ? -ENOMEM : 0;
    size_t at = 0;
    for (size_t i = 0; i < n && err == 0; i++) {
        if (len - at < LENGTH_BYTES) {
            err = -EBADMSG;
            break;
        }
        size_t entry = (size_t)data[at] << 8 | data[at + 1];
        at += LENGTH_BYTES;
        if (len - at < entry) {
            err = -EBADMSG;
            break;
        }
        err = hash_one(context, LEAF_PREFIX, data + at, entry, out + i * DIGEST_BYTES);
        at += entry;
    }
    EVP_MD_CTX_free(context);
    return err == 0 && at != len ? -EBADMSG : err;
}

int64_t akios_bundle_ends(const uint8_t *data, size_t len, size_t first, uint64_t *ends,
                          size_t capacity)
{
    size_t at = 0, count = 0, next = first, found = 0;
    while (at < len) {
        if (len - at < LENGTH_BYTES)
            return -EBADMSG;
        size_t entry = (size_t)data[at] << 8 | data[at + 1];
        at += LENGTH_BYTES;
        if (len - at < entry)
            return -EBADMSG;
        at += entry;
        count++;
        if (count == next && found < capacity) {
            ends[found++] = at;
            next += WIDTH;
        }
    }
    return (int64_t)count;
}

int akios_sha256_nodes(const uint8_t *pairs, size_t n, uint8_t *out)
{
    EVP_MD_CTX *context = new_context();
    int err = context == NULL ? -ENOMEM : 0;
    for (size_t i = 0; i < n && err == 0; i++)
        err = hash_one(context, NODE_PREFIX, pairs + i * PAIR_BYTES, PAIR_BYTES,
                       out + i * DIGEST_BYTES);
    EVP_MD_CTX_free(context);
    return err;
}
