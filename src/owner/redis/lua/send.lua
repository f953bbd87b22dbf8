-- send: mirrors domain/messages.rs
-- ARGV: 5 connection, 6 the one peer it is for or empty, 7 the message's id, 8 the message from its id on, 9 what its
-- sender calls it or empty, 10 how long a repeat is known.
local why = open()
if why then return refuse(why) end
if ARGV[6] ~= '' then touch() end
local text = call('HGET', M, ARGV[5])
if not text then return refuse('not_in_room') end
if ARGV[6] ~= '' then
  local target, target_text = named(ARGV[6])
  if not target then return refuse('peer_not_found') end
  hand(target, '{"message":{"by":' .. text .. ',"to":' .. target_text .. ',' .. ARGV[8] .. '}')
  return done('"id":"' .. ARGV[7] .. '","at":' .. now)
end
local repeatable
if ARGV[9] ~= '' then
  repeatable = K .. ':c:' .. (call('HGET', K, 'b') or room.e) .. ':' .. cjson.decode(text).w[1] .. '\n' .. ARGV[9]
  local known = call('GET', repeatable)
  if known and now - tonumber(string.match(known, '%d+$')) < tonumber(ARGV[10]) then return done(known) end
end
local n, seq = room.n + 1, room.s + 1
local entry = '{"n":' .. n .. ',"seq":' .. seq .. ',"by":' .. text .. ',' .. ARGV[8]
call('HSET', K, 's', seq, 'n', n, 'a', now)
call('XADD', L, seq .. '-0', 'm', entry, 'i', ARGV[7])
call('HSET', I, ARGV[7], seq)
local most = room.kept and room.km or RECENT
if most > 0 and seq > most and seq % 64 == 0 then
  -- A few more than are asked for stay; they are left out when somebody looks.
  for _, old in ipairs(call('XRANGE', L, '-', string.format('%d-0', seq - most))) do call('HDEL', I, old[2][4]) end
  call('XTRIM', L, 'MINID', string.format('%d-0', seq - most + 1))
end
call(publish, K, '{"n":' .. n .. ',"z":' .. room.zi .. ',"o":"' .. origin .. '","t":' .. now .. ',"f":[["*' .. ARGV[5] ..
  '",{"message":' .. entry .. '}]]}')
local answer = '"id":"' .. ARGV[7] .. '","seq":' .. seq .. ',"at":' .. now
if repeatable then call('SET', repeatable, answer, 'PX', ARGV[10]) end
return '{"n":' .. n .. ',"z":' .. room.zi .. ',"f":1,"d":0,"e":"' .. room.e .. '",' .. answer .. '}'
