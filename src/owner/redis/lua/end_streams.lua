-- end_streams: mirrors domain/streams.rs
-- Ends a stream that has got no piece in time, as cancelled and in the name of its publisher. `message`: the id of its last piece.
-- If there are others, the answer says when to look again.
local message = ARGV[5]
local why = open(true)
if why then return refuse(why) end
local ended, stream, next_at
for _, field in ipairs(call('HKEYS', streams_key)) do
  if string.sub(field, -2) ~= ':t' then
    local known = cjson.decode(call('HGET', streams_key, field))
    local at = known.at + stream_ms
    if at <= now and not ended then ended, stream = field, known else next_at = math.min(next_at or at, at) end
  end
end
if next_at then streams_in = math.max(next_at - now, 0) end
if not ended then return done('"r":1') end
touch()
local n, seq, by = room.number + 1, room.seq + 1, cjson.decode(stream.m)
-- As a backend does it, so that no member is its sender.
by.o, by.p, by.d, by.v, by.k = 0, by.w[1], nil, 0, 0
local entry = '{"n":' .. n .. ',"seq":' .. seq .. ',"by":' .. cjson.encode(by) .. ',"of":' .. stream.u .. ',"id":"' .. message ..
  '","rv":{"i":"' .. ended .. '","k":"x"},"s":{"b":"\\"\\""},"at":' .. now .. '}'
append(seq, entry, message)
call('HSET', key, 's', seq, 'n', n)
call('HSET', ids_key, message, seq)
end_stream(ended, stream.q, 'x', call('HGET', streams_key, ended .. ':t') or '')
call(publish, key, '{"n":' .. n .. ',"z":' .. room.generation .. ',"o":"' .. origin .. '","t":' .. now ..
  ',"f":[["*",{"message":' .. entry .. '}]]}')
rest()
return '{"n":' .. n .. ',"z":' .. room.generation .. ',"f":1,"d":0' .. (streams_in and ',"si":' .. streams_in or '') ..
  ',"e":"' .. room.epoch .. '","r":1}'
