"""A client after the read and write functions of the founding document: one request, one answer, close.

Usage: python3 seed_client.py HOST:PORT REQUEST   (REQUEST is a JSON list)
"""
import json
import socket
import sys


def write(sock, text):
    data = text.encode()
    sock.sendall(len(data).to_bytes(2, 'big'))
    sock.sendall(data)


def read(sock):
    bytes_to_read = int.from_bytes(sock.recv(2), 'big')
    chunks = []
    while bytes_to_read > 0:
        data = sock.recv(bytes_to_read)
        bytes_to_read -= len(data)
        chunks.append(data)
    return b"".join(chunks).decode()


host, port = sys.argv[1].rsplit(":", 1)
sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
sock.connect((host, int(port)))
write(sock, json.dumps(json.loads(sys.argv[2])))
print(read(sock))
sock.close()
