-- send: mirrors domain/messages.rs
-- A message to the room, or to the member `peer` if that is not empty. `message_rest`: the message from its id on.
-- `client_id`: the sender's id of the message, or empty. `publisher`: a backend that sends the message, as a member.
local connection, peer, message, message_rest, client_id, publisher = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local why = open(publisher)
if why then return refuse(why) end
if peer ~= '' then touch() end
local text = publisher or call('HGET', members_key, connection)
if not text then return refuse('not_in_room') end
if peer ~= '' then
  local target, target_text = addressed(peer)
  if not target then return refuse('peer_not_found') end
  hand(target, '{"message":{"by":' .. text .. ',"to":' .. target_text .. ',' .. message_rest .. '}')
  return done('"id":"' .. message .. '","at":' .. now)
end
if publisher then
  -- A backend names a connection by the id that its client knows, which a recovery keeps.
  local excluded = addressed(connection)
  if excluded then connection = excluded.c end
end
local repeatable
local repeat_ms = publisher and REPEATED_PUBLICATION_MS or REPEAT_MS
if client_id ~= '' then
  local first_epoch, user_id = call('HGET', key, 'b') or room.epoch, cjson.decode(text).w[1]
  repeatable = key .. ':c:' .. first_epoch .. ':' .. user_id .. '\n' .. client_id
  local known = call('GET', repeatable)
  if known and now - tonumber(string.match(known, '%d+$')) < repeat_ms then return done(known) end
end
local n, seq = room.number + 1, room.seq + 1
local entry = '{"n":' .. n .. ',"seq":' .. seq .. ',"by":' .. text .. ',' .. message_rest
append(seq, entry, message)
call('HSET', key, 's', seq, 'n', n, 'a', now)
call('HSET', ids_key, message, seq)
local most = room.kept and room.keep_count or RECEIPTED_MESSAGES
-- Between two trims the log is longer than its limit.
if seq % TRIM_EVERY == 0 then trim(most > 0 and seq - most + 1 or 0) end
call(publish, key, '{"n":' .. n .. ',"z":' .. room.generation .. ',"o":"' .. origin .. '","t":' .. now ..
  ',"f":[["*' .. connection .. '",{"message":' .. entry .. '}]]}')
hook(HOOK_MESSAGE, ',"e":' .. entry)
local answer = '"id":"' .. message .. '","seq":' .. seq .. ',"at":' .. now
if repeatable then call('SET', repeatable, answer, 'PX', repeat_ms) end
if publisher then rest() end
return '{"n":' .. n .. ',"z":' .. room.generation .. ',"f":1,"d":0,"e":"' .. room.epoch .. '",' .. answer .. '}'
