// A backend that comes and goes: node's HTTP server.
//
//   node restarting.js VERSION FILE [PORT]     VERSION of HTTP: 1 or 2, without TLS. It listens on the port of 127.0.0.1, or
//                                              on the socket that is its standard input.
//
// Each request has a path of its own; that of a POST is written to FILE before it is answered, so that one which comes
// twice is seen, also when this process was killed in between. SIGTERM lets requests finish, and then ends it.
const fs = require('fs')
const [version, file, port] = process.argv.slice(2)
const book = fs.openSync(file, 'a')
const large = 'x'.repeat(100 * 1024)

let ending = false

function handle(request, response) {
  if (ending && version === '1') response.setHeader('Connection', 'close')
  if (request.method === 'POST') fs.writeSync(book, request.url + '\n')
  const answer = () => {
    const body = request.url + (request.url.startsWith('/large') ? large : '')
    response.setHeader('Content-Length', Buffer.byteLength(body))
    response.end(request.method === 'HEAD' ? undefined : body)
  }
  // As most applications do: a body is read before it is answered.
  request.on('end', answer)
  request.resume()
}

const server = version === '2' ? require('http2').createServer(handle) : require('http').createServer(handle)
const sessions = new Set()
server.on('session', session => {
  sessions.add(session)
  session.on('close', () => sessions.delete(session))
})
server.listen(port ? { host: '127.0.0.1', port } : { fd: 0 }, () => console.log('ready'))
process.on('SIGTERM', () => {
  ending = true
  server.close(() => process.exit(0))
  for (const session of sessions) session.close()
})
