// The subscription `feed` with graphql-ws over ws: an emitter in the process, no store, no verification of tokens. Listens on
// PORT. `POST /emit?people=500&count=1000&rate=200` emits messages; each is an event for two users.
import { EventEmitter, on } from 'node:events'
import { createServer } from 'node:http'
import { buildSchema } from 'graphql'
import { useServer } from 'graphql-ws/use/ws'
import { WebSocketServer } from 'ws'

const schema = buildSchema(`
  type Query { ok: Boolean }
  type Subscription { feed(after: String): FeedEvent! }
  interface FeedEvent { cursor: String! }
  type MessageAdded implements FeedEvent { cursor: String! message: Message! }
  type FeedReady implements FeedEvent { cursor: String! }
  type Message { uuid: ID! body: String! }
`)

const emitter = new EventEmitter()
emitter.setMaxListeners(0)

async function* feed(_, { after }, context) {
  const events = on(emitter, context.extra.user)
  yield { feed: { __typename: 'FeedReady', cursor: after ?? '0' } }
  for await (const [event] of events) yield { feed: event }
}
schema.getSubscriptionType().getFields().feed.subscribe = (...args) => feed(...args)

const text = 'A message of a length that people write to each other on an ordinary day. '
function emit(number, people) {
  const body = `#${String(number).padStart(8, '0')} ${text}`.slice(0, 80)
  const message = { uuid: crypto.randomUUID(), body }
  const pair = number % (people / 2)
  for (const person of [2 * pair, 2 * pair + 1]) {
    emitter.emit(`Bearer ${person}`, { __typename: 'MessageAdded', cursor: String(number), message })
  }
}

const server = createServer((request, response) => {
  const url = new URL(request.url, 'http://here')
  if (url.pathname === '/emit') {
    const [people, count, rate] = ['people', 'count', 'rate'].map((name) => Number(url.searchParams.get(name)))
    const begin = performance.now()
    let number = 0
    const timer = setInterval(() => {
      const due = Math.min(count, ((performance.now() - begin) / 1000) * rate)
      while (number < due) emit(number++, people)
      if (number >= count) clearInterval(timer)
    }, 5)
  }
  response.end('ok')
})
const wss = new WebSocketServer({ server, path: '/graphql' })
useServer(
  {
    schema,
    context: (context) => context,
    onConnect: (context) => void (context.extra.user = context.connectionParams.Authorization),
  },
  wss,
  20_000,
)
server.listen(Number(process.env.PORT), '127.0.0.1')
