// A WebSocket echo, and the page that tries it. Arguments: the port; with TLS also the certificate and the key.
const fs = require('node:fs');
const { WebSocketServer } = require('ws');

const page = `<!doctype html><title>echo</title><script>
const socket = new WebSocket('wss://' + location.host + '/echo', ['chat']);
socket.binaryType = 'arraybuffer';
const bytes = new Uint8Array(1 << 20).map((_, n) => (n * 7) % 251);
const seen = { protocol: '', text: '', bytes: false };
socket.onopen = () => { seen.protocol = socket.protocol; socket.send('grüße'); };
socket.onmessage = ({ data }) => {
    if (typeof data === 'string') {
        seen.text = data;
        socket.send(bytes);
    } else {
        const back = new Uint8Array(data);
        seen.bytes = back.length === bytes.length && back.every((byte, n) => byte === bytes[n]);
        socket.send('bye');
        socket.onmessage = null;
    }
};
socket.onclose = ({ code, reason, wasClean }) => {
    const body = JSON.stringify({ ...seen, code, reason, wasClean });
    fetch('/seen', { method: 'POST', body });
};
</script>`;

const [port, cert, key] = process.argv.slice(2);
const answer = (request, response) => {
    let body = '';
    request.on('data', (piece) => { body += piece; });
    request.on('end', () => {
        if (request.method === 'POST') console.log('seen ' + body);
        response.setHeader('content-type', 'text/html; charset=utf-8');
        response.end(request.method === 'POST' ? '' : page);
    });
};
const server = cert
    ? require('node:https').createServer({ cert: fs.readFileSync(cert), key: fs.readFileSync(key) }, answer)
    : require('node:http').createServer(answer);
new WebSocketServer({ server, perMessageDeflate: true }).on('connection', (socket, request) => {
    const fields = request.headers;
    console.log(`client ${fields['x-forwarded-for']} ${fields['x-forwarded-proto']} ${request.url}`);
    socket.on('message', (data, binary) => {
        if (!binary && String(data) === 'bye') socket.close(4001, 'as you wish');
        else socket.send(data, { binary });
    });
});
server.listen(Number(port), '127.0.0.1', () => console.log('ready'));
