/* Both ends of TLS connections in one process, on real OpenSSL, to see what probes make of them.
 *
 *   tls_pair VERB [OPTION VALUE | FLAG]...
 *
 *   transfer   each end writes COUNT messages of SIZE bytes and reads the other's
 *   peek       as transfer, and the client peeks before each of its reads
 *   retry      as transfer, on non-blocking sockets with small buffers: calls fail and come again
 *   nested     a connection inside a connection, on one thread at each end
 *   reuse      ROUNDS connections, one after the other, whose objects get the same address
 *   clear      ROUNDS connections, one after the other, on one object at each end
 *   parallel   THREADS connections whose clients take turns on one thread
 *   answered   COUNT messages and answers; each write of the client returns once another thread has
 *              read the answer
 *   fork       one transfer in the parent, one in a child that does not exec, both at once
 *   bench      times round trips and a bulk transfer over loopback, prints medians
 *
 *   --write plain|ex   --read plain|ex   --size BYTES   --read-size BYTES   --count N
 *   --seed N   --threads N   --rounds N   --sni NAME (empty for none)   --bulk BYTES
 *   --as llm|noise|plain   (plain: without TLS)
 *   --partial          SSL_MODE_ENABLE_PARTIAL_WRITE
 *   --tcp              connections over loopback TCP, each to a port of its own
 *   --memory           clients keep TLS in memory and move its bytes themselves
 *   --dropping         the first half of each message is not mapped when its write returns
 *   --hold             prints "holding" and waits for a line on stdin before it starts
 *
 * For each end of each connection one JSON line says how many plaintext bytes went each way, and
 * their FNV-1a hash, and over TCP to which port the client connected. The bytes follow from --seed, so that both ends check what they read.
 *
 *   cc -O2 -Wall -Wextra -o tls_pair tls_pair.c -lssl -lcrypto -pthread
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
    bool write_ex, read_ex, partial, hold, as_llm, as_plain, tcp, memory, dropping;
    size_t size, read_size, bulk;
    unsigned long count, seed, threads, rounds;
    const char *sni;
} options = {
    .size = 1000,
    .read_size = 65536,
    .bulk = 100000000,
    .count = 1,
    .seed = 1,
    .threads = 1,
    .rounds = 5,
    .sni = "localhost",
};

static SSL_CTX *client_context, *server_context;

_Noreturn static void die(const char *what) {
    fprintf(stderr, "tls_pair: %s: %s\n", what, strerror(errno));
    ERR_print_errors_fp(stderr);
    exit(1);
}

static void check(bool is_fine, const char *what) {
    if (!is_fine) die(what);
}

static void *allocate(size_t size) {
    void *memory = calloc(1, size ? size : 1);
    check(memory, "calloc");
    return memory;
}

/* Memory that is not mapped for a while. */

/* Memory whose bytes stay when it is unmapped. */
static void *allocate_droppable(size_t size) {
    int file = memfd_create("message", 0);
    check(file >= 0 && ftruncate(file, (off_t)size) == 0, "memfd");
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    check(memory != MAP_FAILED, "mmap");
    close(file);
    return memory;
}

/* Called around each write of a BIO: what was encrypted is not needed any more. */
static long drop_first_half(BIO *bio, int operation, const char *bytes, size_t length, int number,
                            long amount, int result, size_t *processed) {
    (void)bytes, (void)length, (void)number, (void)amount, (void)processed;
    if (operation == (BIO_CB_WRITE | BIO_CB_RETURN))
        check(madvise(BIO_get_callback_arg(bio), options.size / 2, MADV_DONTNEED) == 0, "madvise");
    return result;
}

/* The bytes of one direction, and their hash. */

struct flow {
    uint64_t bytes, fnv;
};

static const struct flow NO_FLOW = {0, 0xcbf29ce484222325};

static void flow_add(struct flow *flow, const unsigned char *bytes, size_t length) {
    for (size_t i = 0; i < length; i++) flow->fnv = (flow->fnv ^ bytes[i]) * 0x100000001b3;
    flow->bytes += length;
}

/* The byte at a place of a stream: a hash of seed and place, so that no two parts look alike. */
static unsigned char pattern(uint64_t seed, uint64_t place) {
    uint64_t x = (place >> 3) + seed * 0x9e3779b97f4a7c15;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
    x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
    return (unsigned char)((x ^ (x >> 31)) >> (8 * (place & 7)));
}

static void fill(unsigned char *buffer, size_t length, uint64_t seed, uint64_t place) {
    for (size_t i = 0; i < length; i++) buffer[i] = pattern(seed, place + i);
}

/* One end of one connection. */

struct end {
    const char *role;
    SSL *ssl;
    int fd;
    bool is_in_memory;
    struct flow written, read;
    unsigned long failed, peeked;
};

/* Sends what TLS has made in memory. */
static void push(struct end *end) {
    static _Thread_local char bytes[65536];
    int length;
    while (end->is_in_memory &&
           (length = BIO_read(SSL_get_wbio(end->ssl), bytes, sizeof bytes)) > 0)
        check(send(end->fd, bytes, (size_t)length, 0) == length, "send");
}

/* Gives TLS in memory what has come. */
static void pull(struct end *end) {
    static _Thread_local char bytes[65536];
    ssize_t length = recv(end->fd, bytes, sizeof bytes, 0);
    check(length > 0 && BIO_write(SSL_get_rbio(end->ssl), bytes, (int)length) == length, "recv");
}

static void wait_for(struct end *end, int result) {
    int error = SSL_get_error(end->ssl, result);
    check(error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE, end->role);
    end->failed++;
    if (end->is_in_memory) {
        push(end);
        if (error == SSL_ERROR_WANT_READ) pull(end);
        return;
    }
    struct pollfd ready = {end->fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, 0};
    check(poll(&ready, 1, 30000) == 1, "poll");
}

static void end_write(struct end *end, const unsigned char *bytes, size_t length) {
    while (length > 0) {
        size_t done = 0;
        int result;
        if (options.write_ex) {
            result = SSL_write_ex(end->ssl, bytes, length, &done);
        } else {
            result = SSL_write(end->ssl, bytes, (int)length);
            done = result > 0 ? (size_t)result : 0;
        }
        if (result <= 0) {
            wait_for(end, result);
            continue;
        }
        push(end);
        flow_add(&end->written, bytes, done);
        bytes += done;
        length -= done;
    }
}

static size_t end_read(struct end *end, unsigned char *buffer, size_t length) {
    for (;;) {
        size_t done = 0;
        int result;
        if (options.read_ex) {
            result = SSL_read_ex(end->ssl, buffer, length, &done);
        } else {
            result = SSL_read(end->ssl, buffer, (int)length);
            done = result > 0 ? (size_t)result : 0;
        }
        if (result > 0) {
            flow_add(&end->read, buffer, done);
            return done;
        }
        wait_for(end, result);
    }
}

static void end_peek(struct end *end) {
    unsigned char buffer[100];
    size_t done;
    check(SSL_peek(end->ssl, buffer, sizeof buffer) > 0, "SSL_peek");
    check(SSL_peek_ex(end->ssl, buffer, sizeof buffer, &done) == 1, "SSL_peek_ex");
    end->peeked += 2;
}

/* Port that a client is connected to; 0 for all others. */
static int port_of(const struct end *end) {
    struct sockaddr_in peer;
    socklen_t length = sizeof peer;
    bool is_client = strstr(end->role, "client") != NULL;
    if (!options.tcp || !is_client) return 0;
    check(getpeername(end->fd, (struct sockaddr *)&peer, &length) == 0, "getpeername");
    return ntohs(peer.sin_port);
}

static void end_print(const struct end *end) {
    printf("{\"pid\":%d,\"tid\":%d,\"role\":\"%s\",\"ssl\":%" PRIuPTR ",\"failed\":%lu,"
           "\"peeked\":%lu,\"port\":%d,\"written\":{\"bytes\":%" PRIu64 ",\"fnv\":\"%016" PRIx64 "\"},"
           "\"read\":{\"bytes\":%" PRIu64 ",\"fnv\":\"%016" PRIx64 "\"}}\n",
           getpid(), gettid(), end->role, (uintptr_t)end->ssl, end->failed, end->peeked,
           port_of(end), end->written.bytes, end->written.fnv, end->read.bytes, end->read.fnv);
    fflush(stdout);
}

/* Writes `size` bytes. */
static void write_message(struct end *end, unsigned char *message, uint64_t seed) {
    fill(message, options.size, seed, end->written.bytes);
    end_write(end, message, options.size);
}

/* Reads `total` bytes. */
static void read_messages(struct end *end, unsigned char *buffer, uint64_t total, uint64_t seed,
                          bool peeks) {
    uint64_t start = end->read.bytes;
    while (end->read.bytes - start < total) {
        uint64_t place = end->read.bytes, left = total - (place - start);
        size_t wanted = left < options.read_size ? (size_t)left : options.read_size;
        if (peeks) end_peek(end);
        size_t length = end_read(end, buffer, wanted);
        for (size_t i = 0; i < length; i++)
            check(buffer[i] == pattern(seed, place + i), "wrong bytes");
    }
}

/* Writes COUNT messages and reads as much; `seed` is of the own bytes, `other` of the peer's. */
static void converse(struct end *end, uint64_t seed, uint64_t other, bool is_first, bool peeks) {
    unsigned char *message;
    if (options.dropping) {
        message = allocate_droppable(options.size);
        BIO_set_callback_ex(SSL_get_wbio(end->ssl), drop_first_half);
        BIO_set_callback_arg(SSL_get_wbio(end->ssl), (char *)message);
    } else {
        message = allocate(options.size);
    }
    unsigned char *buffer = allocate(options.read_size);
    for (int turn = 0; turn < 2; turn++) {
        if ((turn == 0) == is_first) {
            for (unsigned long i = 0; i < options.count; i++) write_message(end, message, seed);
        } else {
            read_messages(end, buffer, (uint64_t)options.size * options.count, other, peeks);
        }
    }
    if (!options.dropping) free(message);
    free(buffer);
}

/* The making of connections. */

static void make_contexts(void) {
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    check(key && certificate, "key");
    X509_set_version(certificate, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 86400);
    X509_set_pubkey(certificate, key);
    X509_NAME *name = X509_get_subject_name(certificate);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"tls_pair", -1, -1,
                               0);
    X509_set_issuer_name(certificate, name);
    check(X509_sign(certificate, key, EVP_sha256()), "X509_sign");

    client_context = SSL_CTX_new(TLS_client_method());
    server_context = SSL_CTX_new(TLS_server_method());
    check(client_context && server_context, "SSL_CTX_new");
    SSL_CTX_set_verify(client_context, SSL_VERIFY_NONE, NULL);
    check(SSL_CTX_use_certificate(server_context, certificate) == 1, "certificate");
    check(SSL_CTX_use_PrivateKey(server_context, key) == 1, "private key");
    /* A ticket nobody reads would break the client's last write. */
    SSL_CTX_set_num_tickets(server_context, 0);
    for (int i = 0; i < 2; i++) {
        SSL_CTX *context = i ? client_context : server_context;
        SSL_CTX_clear_mode(context, SSL_MODE_AUTO_RETRY);
        if (options.partial) SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
    }
    X509_free(certificate);
    EVP_PKEY_free(key);
}

static void handshake(struct end *end, bool is_client) {
    if (is_client && *options.sni) check(SSL_set_tlsext_host_name(end->ssl, options.sni), "SNI");
    for (;;) {
        int result = is_client ? SSL_connect(end->ssl) : SSL_accept(end->ssl);
        if (result == 1) break;
        wait_for(end, result);
    }
    push(end);
    end->failed = 0;
}

static struct end end_new(bool is_client, int fd) {
    struct end end = {
        .role = is_client ? "client" : "server",
        .ssl = SSL_new(is_client ? client_context : server_context),
        .fd = fd,
        .is_in_memory = is_client && options.memory,
        .written = NO_FLOW,
        .read = NO_FLOW,
    };
    check(end.ssl, "SSL_new");
    if (end.is_in_memory) {
        BIO *read = BIO_new(BIO_s_mem()), *written = BIO_new(BIO_s_mem());
        check(read && written, "BIO_new");
        SSL_set_bio(end.ssl, read, written);
    } else {
        check(SSL_set_fd(end.ssl, fd), "SSL_set_fd");
    }
    return end;
}

enum { CLIENT, SERVER };

static void pair_of_sockets(int fds[2]) {
    if (!options.tcp) {
        check(socketpair(AF_UNIX, SOCK_STREAM, 0, fds) == 0, "socketpair");
        return;
    }
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    check(bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
    check(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    check(listen(listener, 1) == 0, "listen");
    fds[CLIENT] = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(fds[CLIENT], (struct sockaddr *)&address, length) == 0, "connect");
    fds[SERVER] = accept(listener, NULL, NULL);
    check(fds[SERVER] >= 0, "accept");
    close(listener);
}

static uint64_t seed_of(int side, uint64_t connection) {
    return (options.seed * 1000 + connection) * 2 + (uint64_t)side;
}

/* transfer, peek, retry: one connection, its server on a thread of its own. */

struct connection {
    int fds[2];
    uint64_t number;
    bool peeks;
};

static void *serve(void *argument) {
    struct connection *connection = argument;
    struct end end = end_new(false, connection->fds[SERVER]);
    handshake(&end, false);
    converse(&end, seed_of(SERVER, connection->number), seed_of(CLIENT, connection->number), false,
             false);
    end_print(&end);
    SSL_free(end.ssl);
    return NULL;
}

static void transfer(uint64_t number, bool peeks, bool blocks) {
    struct connection connection = {.number = number, .peeks = peeks};
    pair_of_sockets(connection.fds);
    if (!blocks) {
        for (int i = 0; i < 2; i++) {
            int small = 4096;
            check(fcntl(connection.fds[i], F_SETFL, O_NONBLOCK) == 0, "O_NONBLOCK");
            check(setsockopt(connection.fds[i], SOL_SOCKET, SO_SNDBUF, &small, sizeof small) == 0,
                  "SO_SNDBUF");
        }
    }
    pthread_t thread;
    check(pthread_create(&thread, NULL, serve, &connection) == 0, "pthread_create");
    struct end end = end_new(true, connection.fds[CLIENT]);
    handshake(&end, true);
    converse(&end, seed_of(CLIENT, number), seed_of(SERVER, number), true, peeks);
    pthread_join(thread, NULL);
    end_print(&end);
    SSL_free(end.ssl);
    close(connection.fds[0]);
    close(connection.fds[1]);
}

static void *transfer_on_thread(void *number) {
    transfer((uint64_t)(uintptr_t)number, false, true);
    return NULL;
}

static void transfer_on_threads(void) {
    pthread_t *threads = allocate(options.threads * sizeof *threads);
    for (uintptr_t i = 0; i < options.threads; i++)
        check(pthread_create(&threads[i], NULL, transfer_on_thread, (void *)i) == 0, "thread");
    for (uintptr_t i = 0; i < options.threads; i++) pthread_join(threads[i], NULL);
    free(threads);
}

/* parallel: all clients on this thread; each sends, in turn, then each reads, in turn. */

static void parallel(void) {
    size_t count = options.threads;
    struct connection *connections = allocate(count * sizeof *connections);
    struct end *clients = allocate(count * sizeof *clients);
    pthread_t *threads = allocate(count * sizeof *threads);
    unsigned char *message = allocate(options.size), *buffer = allocate(options.read_size);
    for (size_t i = 0; i < count; i++) {
        connections[i].number = i;
        pair_of_sockets(connections[i].fds);
        check(pthread_create(&threads[i], NULL, serve, &connections[i]) == 0, "pthread_create");
        clients[i] = end_new(true, connections[i].fds[CLIENT]);
    }
    for (size_t i = 0; i < count; i++) handshake(&clients[i], true);
    for (unsigned long round = 0; round < options.count; round++) {
        for (size_t i = 0; i < count; i++) {
            fill(message, options.size, seed_of(CLIENT, i), clients[i].written.bytes);
            end_write(&clients[i], message, options.size);
        }
    }
    uint64_t total = (uint64_t)options.size * options.count;
    for (bool is_over = false; !is_over;) {
        is_over = true;
        for (size_t i = 0; i < count; i++) {
            uint64_t left = total - clients[i].read.bytes;
            if (left == 0) continue;
            end_read(&clients[i], buffer, left < options.read_size ? left : options.read_size);
            is_over = false;
        }
    }
    for (size_t i = 0; i < count; i++) {
        pthread_join(threads[i], NULL);
        end_print(&clients[i]);
        SSL_free(clients[i].ssl);
        close(connections[i].fds[CLIENT]);
        close(connections[i].fds[SERVER]);
    }
    free(connections);
    free(clients);
    free(threads);
    free(message);
    free(buffer);
}

/* nested: the BIO of the inner connection is a call on the outer one. */

static int outer_write(BIO *bio, const char *bytes, int length) {
    end_write(BIO_get_data(bio), (const unsigned char *)bytes, (size_t)length);
    return length;
}

static int outer_read(BIO *bio, char *buffer, int length) {
    return (int)end_read(BIO_get_data(bio), (unsigned char *)buffer, (size_t)length);
}

static long outer_control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH || command == BIO_CTRL_PUSH || command == BIO_CTRL_POP;
}

static BIO_METHOD *outer_method;

static void nest(bool is_client, int fd) {
    int side = is_client ? CLIENT : SERVER;
    struct end outer = end_new(is_client, fd);
    handshake(&outer, is_client);
    struct end inner = {
        .role = is_client ? "inner client" : "inner server",
        .ssl = SSL_new(is_client ? client_context : server_context),
        .fd = fd,
        .written = NO_FLOW,
        .read = NO_FLOW,
    };
    BIO *bio = BIO_new(outer_method);
    check(inner.ssl && bio, "nested");
    BIO_set_data(bio, &outer);
    BIO_set_init(bio, 1);
    SSL_set_bio(inner.ssl, bio, bio);
    handshake(&inner, is_client);
    converse(&inner, seed_of(side, 0), seed_of(!side, 0), is_client, false);
    end_print(&inner);
    end_print(&outer);
    SSL_free(inner.ssl);
    SSL_free(outer.ssl);
}

static void *nest_server(void *fd) {
    nest(false, *(int *)fd);
    return NULL;
}

static void nested(void) {
    outer_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "outer connection");
    check(outer_method, "BIO_meth_new");
    BIO_meth_set_write(outer_method, outer_write);
    BIO_meth_set_read(outer_method, outer_read);
    BIO_meth_set_ctrl(outer_method, outer_control);
    int fds[2];
    pair_of_sockets(fds);
    pthread_t thread;
    check(pthread_create(&thread, NULL, nest_server, &fds[SERVER]) == 0, "pthread_create");
    nest(true, fds[CLIENT]);
    pthread_join(thread, NULL);
}

/* answered: the last send of each write of the client goes on once the answer was read. */

/* What a record of TLS 1.3 adds: header, type and tag (RFC 8446, section 5.2). */
enum { RECORD_SIZE = 16384, RECORD_ADDS = 22 };

struct answered {
    struct end client;
    sem_t was_read;
    /* Bytes that the write under way has to send before it is answered. */
    size_t to_send;
};

static long wait_for_answer(BIO *bio, int operation, const char *bytes, size_t length, int number,
                            long other, int result, size_t *moved) {
    (void)bytes, (void)length, (void)number, (void)other;
    struct answered *answered = (void *)BIO_get_callback_arg(bio);
    if (operation != (BIO_CB_WRITE | BIO_CB_RETURN) || result <= 0 || answered->to_send == 0)
        return result;
    check(*moved <= answered->to_send, "more was sent than written");
    answered->to_send -= *moved;
    if (answered->to_send == 0) {
        struct timespec limit;
        clock_gettime(CLOCK_REALTIME, &limit);
        limit.tv_sec += 30;
        check(sem_timedwait(&answered->was_read, &limit) == 0, "no answer");
    }
    return result;
}

static void *read_answers(void *argument) {
    struct answered *answered = argument;
    unsigned char *buffer = allocate(options.read_size);
    for (unsigned long i = 0; i < options.count; i++) {
        read_messages(&answered->client, buffer, options.size, seed_of(SERVER, 0), false);
        sem_post(&answered->was_read);
    }
    free(buffer);
    return NULL;
}

static void *answer(void *fd) {
    struct end end = end_new(false, *(int *)fd);
    unsigned char *message = allocate(options.size), *buffer = allocate(options.read_size);
    handshake(&end, false);
    for (unsigned long i = 0; i < options.count; i++) {
        read_messages(&end, buffer, options.size, seed_of(CLIENT, 0), false);
        write_message(&end, message, seed_of(SERVER, 0));
    }
    end_print(&end);
    SSL_free(end.ssl);
    free(message);
    free(buffer);
    return NULL;
}

static void answered(void) {
    int fds[2];
    pair_of_sockets(fds);
    pthread_t server, reader;
    check(pthread_create(&server, NULL, answer, &fds[SERVER]) == 0, "pthread_create");
    struct answered answered = {.client = end_new(true, fds[CLIENT])};
    check(sem_init(&answered.was_read, 0, 0) == 0, "sem_init");
    answered.client.role = "overtaken client";
    handshake(&answered.client, true);
    check(SSL_version(answered.client.ssl) == TLS1_3_VERSION, "TLS 1.3");
    BIO *bio = SSL_get_wbio(answered.client.ssl);
    BIO_set_callback_arg(bio, (char *)&answered);
    BIO_set_callback_ex(bio, wait_for_answer);
    check(pthread_create(&reader, NULL, read_answers, &answered) == 0, "pthread_create");
    unsigned char *message = allocate(options.size);
    size_t records = (options.size + RECORD_SIZE - 1) / RECORD_SIZE;
    for (unsigned long i = 0; i < options.count; i++) {
        answered.to_send = options.size + records * RECORD_ADDS;
        write_message(&answered.client, message, seed_of(CLIENT, 0));
    }
    pthread_join(reader, NULL);
    pthread_join(server, NULL);
    end_print(&answered.client);
    SSL_free(answered.client.ssl);
    free(message);
}

/* clear: both objects live on, and take a new socket after SSL_clear. */

struct clearing {
    struct end *server;
    uint64_t round;
};

static void *serve_cleared(void *argument) {
    struct clearing *clearing = argument;
    handshake(clearing->server, false);
    converse(clearing->server, seed_of(SERVER, clearing->round), seed_of(CLIENT, clearing->round),
             false, false);
    return NULL;
}

static void clear(void) {
    struct end client = {0}, server = {0};
    for (uint64_t round = 0; round < options.rounds; round++) {
        int fds[2];
        pair_of_sockets(fds);
        if (round == 0) {
            client = end_new(true, fds[CLIENT]);
            server = end_new(false, fds[SERVER]);
        } else {
            check(SSL_clear(client.ssl) && SSL_clear(server.ssl), "SSL_clear");
            client.fd = fds[CLIENT];
            if (!client.is_in_memory) check(SSL_set_fd(client.ssl, client.fd), "SSL_set_fd");
            check(SSL_set_fd(server.ssl, server.fd = fds[SERVER]), "SSL_set_fd");
            client.written = client.read = server.written = server.read = NO_FLOW;
        }
        struct clearing clearing = {&server, round};
        pthread_t thread;
        check(pthread_create(&thread, NULL, serve_cleared, &clearing) == 0, "pthread_create");
        handshake(&client, true);
        converse(&client, seed_of(CLIENT, round), seed_of(SERVER, round), true, false);
        pthread_join(thread, NULL);
        end_print(&client);
        end_print(&server);
        /* SSL_clear refuses a connection that was not shut down. */
        SSL_set_shutdown(client.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        SSL_set_shutdown(server.ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
        close(fds[0]);
        close(fds[1]);
    }
    SSL_free(client.ssl);
    SSL_free(server.ssl);
}

static void in_parent_and_child(void) {
    pid_t child = fork();
    check(child >= 0, "fork");
    transfer(child == 0, false, true);
    if (child == 0) _exit(0);
    int status;
    check(waitpid(child, &status, 0) == child && status == 0, "child");
}

/* bench: client and server over loopback TCP, the server in a process of its own. */

enum { SMALL = 1024, LARGE = 16384, WARM_UP = 200 };

static uint64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* A message of exactly `size` bytes: a start line, a length, and a JSON body that is padded. */
static unsigned char *http_message(const char *start, const char *before, const char *after,
                                   size_t size) {
    unsigned char *message = allocate(size + 512);
    int head = snprintf((char *)message, 512, "%s\r\ncontent-type: application/json\r\n"
                        "content-length: %08zu\r\n\r\n", start, size);
    size_t body = size - (size_t)head, padding = body - strlen(before) - strlen(after);
    head = snprintf((char *)message, 512, "%s\r\ncontent-type: application/json\r\n"
                    "content-length: %08zu\r\n\r\n%s", start, body, before);
    memset(message + head, 'x', padding);
    memcpy(message + head + padding, after, strlen(after));
    return message;
}

static unsigned char *request_of(size_t size) {
    if (options.as_llm)
        return http_message("POST /v1/messages HTTP/1.1\r\nhost: api.anthropic.com",
                            "{\"model\":\"bench\",\"max_tokens\":9,\"messages\":"
                            "[{\"role\":\"user\",\"content\":\"", "\"}]}", size);
    unsigned char *message = allocate(size);
    fill(message, size, 1, 0);
    return message;
}

static unsigned char *reply_of(size_t size) {
    if (options.as_llm)
        return http_message("HTTP/1.1 200 OK",
                            "{\"id\":\"msg_bench\",\"type\":\"message\",\"role\":\"assistant\","
                            "\"model\":\"bench\",\"content\":[{\"type\":\"text\",\"text\":\"",
                            "\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,"
                            "\"usage\":{\"input_tokens\":5,\"output_tokens\":7}}", size);
    unsigned char *message = allocate(size);
    fill(message, size, 2, 0);
    return message;
}

static void read_all(struct end *end, unsigned char *buffer, size_t length) {
    while (length > 0) {
        size_t wanted = length < LARGE ? length : LARGE;
        ssize_t done = options.as_plain ? recv(end->fd, buffer, wanted, 0)
                                        : SSL_read(end->ssl, buffer, (int)wanted);
        check(done > 0, "read");
        length -= (size_t)done;
    }
}

static void write_all(struct end *end, const unsigned char *bytes, size_t length) {
    ssize_t done = options.as_plain ? send(end->fd, bytes, length, 0)
                                    : SSL_write(end->ssl, bytes, (int)length);
    check(done == (ssize_t)length, "write");
}

/* One block of a bulk transfer: events of a stream, or noise. */
static unsigned char *bulk_block(void) {
    unsigned char *block = allocate(LARGE + 256);
    if (!options.as_llm) {
        fill(block, LARGE, 3, 0);
        return block;
    }
    size_t length = 0;
    const char *event =
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":"
        "{\"type\":\"text_delta\",\"text\":\"as long as a few words are in most replies\"}}\n\n";
    while (length + strlen(event) <= LARGE) {
        memcpy(block + length, event, strlen(event));
        length += strlen(event);
    }
    /* A comment fills the block. */
    memset(block + length, ':', LARGE - length);
    if (length < LARGE) block[LARGE - 1] = '\n';
    return block;
}

static void serve_bench(int listener) {
    int fd = accept(listener, NULL, NULL);
    check(fd >= 0, "accept");
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct end end = end_new(false, fd);
    if (!options.as_plain) handshake(&end, false);
    unsigned char *buffer = allocate(LARGE);
    const size_t sizes[] = {SMALL, LARGE};
    for (int i = 0; i < 2; i++) {
        unsigned char *reply = reply_of(sizes[i]);
        for (unsigned long round = 0; round < WARM_UP + options.count; round++) {
            read_all(&end, buffer, sizes[i]);
            write_all(&end, reply, sizes[i]);
        }
        free(reply);
    }
    read_all(&end, buffer, SMALL);
    if (options.as_llm) {
        char head[256];
        int length = snprintf(head, sizeof head,
                              "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                              "content-length: %zu\r\n\r\n", options.bulk / LARGE * LARGE);
        write_all(&end, (unsigned char *)head, (size_t)length);
    }
    unsigned char *block = bulk_block();
    for (size_t sent = 0; sent < options.bulk / LARGE; sent++) write_all(&end, block, LARGE);
    /* Ends when the client does. */
    if (options.as_plain) check(recv(fd, buffer, 1, 0) == 0, "end");
    else SSL_read(end.ssl, buffer, 1);
}

static int ascending(const void *left, const void *right) {
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void bench(void) {
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), on = 1;
    check(bind(listener, (struct sockaddr *)&address, length) == 0, "bind");
    check(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
    check(listen(listener, 1) == 0, "listen");
    pid_t server = fork();
    check(server >= 0, "fork");
    if (server == 0) {
        serve_bench(listener);
        _exit(0);
    }
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    check(connect(fd, (struct sockaddr *)&address, length) == 0, "connect");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct end end = end_new(true, fd);
    if (!options.as_plain) handshake(&end, true);

    unsigned char *buffer = allocate(LARGE);
    uint64_t *times = allocate(options.count * sizeof *times), medians[2];
    const size_t sizes[] = {SMALL, LARGE};
    for (int i = 0; i < 2; i++) {
        unsigned char *request = request_of(sizes[i]);
        for (unsigned long round = 0; round < WARM_UP + options.count; round++) {
            uint64_t start = now_ns();
            write_all(&end, request, sizes[i]);
            read_all(&end, buffer, sizes[i]);
            if (round >= WARM_UP) times[round - WARM_UP] = now_ns() - start;
        }
        qsort(times, options.count, sizeof *times, ascending);
        medians[i] = times[options.count / 2];
        free(request);
    }
    unsigned char *request = request_of(SMALL);
    uint64_t start = now_ns();
    write_all(&end, request, SMALL);
    if (options.as_llm) {
        unsigned char tail[4] = {0};
        while (memcmp(tail, "\r\n\r\n", 4) != 0) {
            memmove(tail, tail + 1, 3);
            read_all(&end, tail + 3, 1);
        }
    }
    size_t total = options.bulk / LARGE * LARGE;
    for (size_t received = 0; received < total; received += LARGE)
        read_all(&end, buffer, LARGE);
    double seconds = (double)(now_ns() - start) / 1e9;
    printf("{\"as\":\"%s\",\"rounds\":%lu,\"round_trip_1k_ns\":%" PRIu64
           ",\"round_trip_16k_ns\":%" PRIu64 ",\"bulk_bytes\":%zu,\"bulk_mb_per_s\":%.1f}\n",
           options.as_llm ? "llm" : options.as_plain ? "plain" : "noise", options.count, medians[0], medians[1], total,
           (double)total / 1e6 / seconds);
    SSL_free(end.ssl);
    close(fd);
    waitpid(server, NULL, 0);
}

/* The command line. */

static unsigned long number_of(const char *text, const char *name) {
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    check(errno == 0 && *text != 0 && *end == 0, name);
    return number;
}

static void parse(int count, char **words) {
    for (int i = 0; i < count; i++) {
        const char *name = words[i];
        if (strcmp(name, "--partial") == 0) {
            options.partial = true;
            continue;
        }
        if (strcmp(name, "--hold") == 0) {
            options.hold = true;
            continue;
        }
        if (strcmp(name, "--tcp") == 0) {
            options.tcp = true;
            continue;
        }
        if (strcmp(name, "--memory") == 0) {
            options.memory = true;
            continue;
        }
        if (strcmp(name, "--dropping") == 0) {
            options.dropping = true;
            continue;
        }
        errno = EINVAL;
        check(i + 1 < count, name);
        const char *value = words[++i];
        if (strcmp(name, "--write") == 0) options.write_ex = strcmp(value, "ex") == 0;
        else if (strcmp(name, "--read") == 0) options.read_ex = strcmp(value, "ex") == 0;
        else if (strcmp(name, "--as") == 0) {
            options.as_llm = strcmp(value, "llm") == 0;
            options.as_plain = strcmp(value, "plain") == 0;
        }
        else if (strcmp(name, "--sni") == 0) options.sni = value;
        else if (strcmp(name, "--size") == 0) options.size = number_of(value, name);
        else if (strcmp(name, "--read-size") == 0) options.read_size = number_of(value, name);
        else if (strcmp(name, "--bulk") == 0) options.bulk = number_of(value, name);
        else if (strcmp(name, "--count") == 0) options.count = number_of(value, name);
        else if (strcmp(name, "--seed") == 0) options.seed = number_of(value, name);
        else if (strcmp(name, "--threads") == 0) options.threads = number_of(value, name);
        else if (strcmp(name, "--rounds") == 0) options.rounds = number_of(value, name);
        else die(name);
    }
    errno = EINVAL;
    check(options.size > 0 && options.size <= INT32_MAX, "--size");
    check(options.read_size > 0 && options.read_size <= INT32_MAX, "--read-size");
    check(options.count > 0, "--count");
}

int main(int count, char **words) {
    errno = EINVAL;
    check(count >= 2, "a verb is missing; see the head of tls_pair.c");
    const char *verb = words[1];
    parse(count - 2, words + 2);
    signal(SIGPIPE, SIG_IGN);
    make_contexts();
    if (options.hold) {
        puts("holding");
        fflush(stdout);
        char line[64];
        check(fgets(line, sizeof line, stdin), "stdin");
    }
    if (strcmp(verb, "transfer") == 0) transfer_on_threads();
    else if (strcmp(verb, "peek") == 0) transfer(0, true, true);
    else if (strcmp(verb, "retry") == 0) transfer(0, false, false);
    else if (strcmp(verb, "nested") == 0) nested();
    else if (strcmp(verb, "clear") == 0) clear();
    else if (strcmp(verb, "parallel") == 0) parallel();
    else if (strcmp(verb, "answered") == 0) answered();
    else if (strcmp(verb, "fork") == 0) in_parent_and_child();
    else if (strcmp(verb, "bench") == 0) bench();
    else if (strcmp(verb, "reuse") == 0)
        for (uint64_t round = 0; round < options.rounds; round++) transfer(round, false, true);
    else die(verb);
    SSL_CTX_free(client_context);
    SSL_CTX_free(server_context);
    return 0;
}
