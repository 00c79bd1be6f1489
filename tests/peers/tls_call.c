/* An LLM client that carries its OpenSSL inside, with neither names nor a text of its version: the
 * stripped program that cannot be found by its symbols.
 *
 *   tls_call HOST PORT MODEL CALLS
 *   tls_call --version
 *
 * Makes CALLS calls of Anthropic Messages on one connection and prints a JSON line for each. The
 * authority is $SSL_CERT_FILE.
 *
 *   cc -O2 -Wall -Wextra -s -o tls_call tls_call.c -Wl,-Bstatic -lssl -lcrypto -Wl,-Bdynamic
 */
#define _GNU_SOURCE
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* LIMIT: bytes of one reply; a longer one ends the program. */
static char reply[1 << 20];

static void check(bool is_fine, const char *what) {
    if (!is_fine) {
        fprintf(stderr, "%s failed\n", what);
        ERR_print_errors_fp(stderr);
        exit(1);
    }
}

static int dial(const char *host, const char *port) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    check(getaddrinfo(host, port, &hints, &found) == 0, "the look-up of the host");
    int fd = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    check(fd >= 0 && connect(fd, found->ai_addr, found->ai_addrlen) == 0, "the connection");
    freeaddrinfo(found);
    return fd;
}

static SSL *shake_hands(SSL_CTX *context, int fd, const char *host) {
    SSL *ssl = SSL_new(context);
    check(ssl != NULL && SSL_set_fd(ssl, fd) && SSL_set_tlsext_host_name(ssl, host) &&
              SSL_set1_host(ssl, host) && SSL_connect(ssl) == 1,
          "the handshake");
    return ssl;
}

/* Reads one reply of a known length; gives the start of its body. */
static const char *read_reply(SSL *ssl) {
    size_t length = 0;
    for (;;) {
        int got = SSL_read(ssl, reply + length, (int)(sizeof reply - 1 - length));
        check(got > 0, "a read");
        length += (size_t)got;
        reply[length] = '\0';
        const char *end = strstr(reply, "\r\n\r\n"), *field = strcasestr(reply, "\r\ncontent-length:");
        if (end == NULL)
            continue;
        check(field != NULL && field < end, "the search for a length");
        size_t whole = (size_t)(end + 4 - reply) + strtoul(field + 17, NULL, 10);
        if (length >= whole)
            return end + 4;
    }
}

static void call(SSL *ssl, const char *host, const char *model) {
    static const char BODY[] = "{\"model\":\"%s\",\"max_tokens\":1024,\"messages\":"
                               "[{\"role\":\"user\",\"content\":\"How many tokens?\"}]}";
    static const char HEAD[] = "POST /v1/messages HTTP/1.1\r\nHost: %s\r\nUser-Agent: tls_call\r\n"
                               "Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s";
    char body[1024], request[2048];
    int size = snprintf(body, sizeof body, BODY, model);
    check(size < (int)sizeof body, "the writing of the body");
    int length = snprintf(request, sizeof request, HEAD, host, size, body);
    check(length < (int)sizeof request && SSL_write(ssl, request, length) == length, "a write");
    const char *id = strstr(read_reply(ssl), "\"id\":\"");
    check(id != NULL, "the search for an id");
    printf("{\"pid\":%d,\"id\":\"%.*s\"}\n", getpid(), (int)strcspn(id + 6, "\""), id + 6);
}

int main(int count, char **words) {
    if (count == 2 && strcmp(words[1], "--version") == 0) {
        puts("tls_call");
        return 0;
    }
    check(count == 5, "the reading of the command line");
    const char *host = words[1];
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    check(context != NULL && SSL_CTX_set_default_verify_paths(context), "the set-up");
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    int fd = dial(host, words[2]);
    SSL *ssl = shake_hands(context, fd, host);
    for (long left = atol(words[4]); left > 0; left--)
        call(ssl, host, words[3]);
    SSL_shutdown(ssl);
    SSL_free(ssl);
    close(fd);
    SSL_CTX_free(context);
    return 0;
}
