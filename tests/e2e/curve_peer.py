"""A peer with a key that is no pft program, over the machine's libzmq: `curve_peer.py ADDRESS KEY-FILE idle|deaf`.
It says "ready" and stays until it is killed. idle: asks for the status once. deaf: asks many times and reads no
answer, so that they pile up on their way. Standard library only; used by tests."""
import ctypes
import ctypes.util
import signal
import sys
import time

DEALER, RCVHWM, RCVBUF = 5, 24, 12
CURVE_PUBLICKEY, CURVE_SECRETKEY, CURVE_SERVERKEY = 48, 49, 50
REQUEST = b"\x08\x01"
BURSTS, BURST = 4, 100  # fewer a second than would be called a flood


def library():
    """libzmq, None where there is none."""
    name = ctypes.util.find_library("zmq")
    if not name:
        return None
    zmq = ctypes.CDLL(name)
    zmq.zmq_ctx_new.restype = zmq.zmq_socket.restype = ctypes.c_void_p
    zmq.zmq_socket.argtypes = [ctypes.c_void_p, ctypes.c_int]
    zmq.zmq_setsockopt.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t]
    zmq.zmq_connect.argtypes = [ctypes.c_void_p, ctypes.c_char_p]
    zmq.zmq_send.argtypes = zmq.zmq_recv.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    zmq.zmq_z85_encode.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_size_t]
    return zmq


def keys(zmq, path):
    """Secret, own public and server's public key of a key file, as libzmq takes them."""
    with open(path, encoding="ascii") as f:
        values = dict(line.split(None, 1) for line in f if " " in line)
    text = [ctypes.create_string_buffer(41) for _ in range(3)]
    for name, out in (("secret", text[0]), ("server", text[2])):
        zmq.zmq_z85_encode(out, bytes.fromhex(values[name].strip()), 32)
    zmq.zmq_curve_public(text[1], text[0])
    return text


def show_key(zmq, peer, path):
    for option, value in zip((CURVE_SECRETKEY, CURVE_PUBLICKEY, CURVE_SERVERKEY), keys(zmq, path)):
        assert zmq.zmq_setsockopt(peer, option, value, 41) == 0, option


def main(address, key, mode):
    zmq = library()
    peer = zmq.zmq_socket(zmq.zmq_ctx_new(), DEALER)
    show_key(zmq, peer, key)
    if mode == "deaf":
        for option, value in ((RCVHWM, 1), (RCVBUF, 4096)):
            number = ctypes.c_int(value)
            assert zmq.zmq_setsockopt(peer, option, ctypes.byref(number), 4) == 0, option
    assert zmq.zmq_connect(peer, address.encode()) == 0
    zmq.zmq_send(peer, REQUEST, len(REQUEST), 0)
    answer = ctypes.create_string_buffer(1 << 16)
    assert zmq.zmq_recv(peer, answer, len(answer), 0) > 0
    for _ in range(BURSTS if mode == "deaf" else 0):
        for _ in range(BURST):
            zmq.zmq_send(peer, REQUEST, len(REQUEST), 0)
        time.sleep(1)  # the pace is the point
    print("ready", flush=True)
    signal.pause()


if __name__ == "__main__":
    main(*sys.argv[1:])
