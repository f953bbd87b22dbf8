-- send: mirrors domain/messages.rs
-- A message to the room, or to the member `peer` if that is not empty. `message_rest`: the message from its id on.
-- `client_id`: the sender's id of the message, or empty. `publisher`: a backend that sends the message, as a member, or empty.
-- `revised`: the message that this one changes, by `revision`: "e" (edit) or "d" (delete), with `content`; "a", "c" or "x": a piece
-- of a stream, which goes on, is complete or is cancelled; or, without a message, "o": an open stream, or "n": a message that has no
-- number and is not kept. `rights`: "m" for a moderator,
-- "o" if only own messages may be changed. Of streams, `units` and
-- `bytes` are the length of the text, which is `inner`, `expected` is the offset, or empty, and `bytes_max` bounds the whole text.
local connection, peer, message, message_rest, client_id, publisher = ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local revised, revision, content = ARGV[11], ARGV[12], ARGV[13]
local rights, units, bytes, expected, inner = ARGV[14], tonumber(ARGV[15] or 0), tonumber(ARGV[16] or 0), ARGV[17], ARGV[19]
if revised == '' then revised = nil end
if publisher == '' then publisher = nil end
local why = open(publisher)
if why then return refuse(why) end
if peer ~= '' then touch() end
local text = publisher or call('HGET', members_key, connection)
if not text then return refuse('not_in_room') end
if string.find(text, '"da":', 1, true) then
  -- Messages do not carry their sender's data.
  local sender = cjson.decode(text)
  if observes(sender) then return refuse('observer') end
  sender.da = nil
  text = cjson.encode(sender)
end
if peer ~= '' then
  local target, target_text = addressed(peer)
  if not target then return refuse('peer_not_found') end
  hand(target, '{"message":{"by":' .. text .. ',"to":' .. target_text .. ',' .. message_rest .. '}')
  return done('"id":"' .. message .. '","at":' .. now)
end
if publisher then
  -- A backend names a connection by the id that its client knows, which a recovery keeps.
  local excluded = named(connection) or seat_of(connection)
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
if revision == 'n' then
  touch()
  tell('*' .. connection, '{"message":{"by":' .. text .. ',' .. message_rest .. '}')
  local answer = '"id":"' .. message .. '","at":' .. now
  if repeatable then call('SET', repeatable, answer, 'PX', repeat_ms) end
  rest()
  return done(answer)
end
local revised_seq, stream, notice
if revision == 'o' then
  if call('HLEN', streams_key) >= 2 * STREAMS_PER_ROOM then return refuse('streams_full') end
elseif revised and string.find(revision, '[acx]') then
  local known, by = call('HGET', streams_key, revised), cjson.decode(text).w
  if not known then return refuse('stream_ended') end
  stream = cjson.decode(known)
  local owner = cjson.decode(stream.m).w[1]
  if not publisher and by[1] ~= owner and (revision ~= 'x' or bytes > 0) then return refuse('stream_forbidden') end
  if expected ~= '' and tonumber(expected) ~= stream.u then return refuse('stream_offset:' .. stream.u) end
  if stream.b + bytes > tonumber(ARGV[18]) then return refuse('stream_too_long:' .. ARGV[18]) end
  if revision == 'x' and by[1] ~= owner then
    notice = ',[' .. cjson.encode('u' .. owner) .. ',{"cancel":{"i":"' .. revised .. '","w":' .. cjson.encode(by) .. '}}]'
  end
elseif revised then
  revised_seq = call('HGET', ids_key, revised)
  local found = revised_seq and call('XRANGE', log_key, revised_seq .. '-0', revised_seq .. '-0')[1]
  if not found or not is_live(found) then return refuse('message_not_found') end
  local by = cjson.decode(text).w
  local is_own = cjson.decode(found[2][2]).by.w[1] == by[1]
  local may = rights == 'm' or rights ~= 'o' and is_host(by[1], by[4] % 2 == 1 and '1')
  if not publisher and not is_own and not may then return refuse('change_forbidden') end
  if revision == 'e' and call('HEXISTS', streams_key, revised) == 1 then return refuse('stream_open') end
end
local n, seq = room.number + 1, room.seq + 1
local offset = stream and '"of":' .. stream.u .. ',' or ''
local entry = '{"n":' .. n .. ',"seq":' .. seq .. ',"by":' .. text .. ',' .. offset .. message_rest
append(seq, entry, message)
call('HSET', key, 's', seq, 'n', n, 'a', now)
call('HSET', ids_key, message, seq)
if revision == 'o' then
  local state = {q = seq, u = units, b = bytes, at = now, m = text}
  call('HSET', revised_key, seq, '{"k":"s"}')
  call('HSET', streams_key, message, cjson.encode(state), message .. ':t', inner)
  streams_in = stream_ms
elseif stream then
  local whole = (call('HGET', streams_key, revised .. ':t') or '') .. inner
  if revision == 'a' then
    stream.u, stream.b, stream.at = stream.u + units, stream.b + bytes, now
    call('HSET', streams_key, revised, cjson.encode(stream), revised .. ':t', whole)
  else
    end_stream(revised, stream.q, revision, whole)
  end
elseif revision == 'd' then
  call('HDEL', streams_key, revised, revised .. ':t')
  call('HSET', revised_key, revised_seq, '{"k":"d","at":' .. now .. '}')
elseif revision == 'e' then
  -- Parts that this edit leaves out stay as an earlier one has set them.
  local former, parts = call('HGET', revised_key, revised_seq), cjson.decode(content)
  for name, value in pairs(former and cjson.decode(former).s or {}) do
    if parts[name] == nil then parts[name] = value end
  end
  call('HSET', revised_key, revised_seq, '{"k":"e","at":' .. now .. ',"s":' .. cjson.encode(parts) .. '}')
end
local most = room.kept and room.keep_count or RECEIPTED_MESSAGES
-- Between two trims the log is longer than its limit.
if seq % TRIM_EVERY == 0 then trim(most > 0 and seq - most + 1 or 0) end
call(publish, key, '{"n":' .. n .. ',"z":' .. room.generation .. ',"o":"' .. origin .. '","t":' .. now ..
  ',"f":[["*' .. connection .. '",{"message":' .. entry .. '}]' .. (notice or '') .. ']}')
if not stream then
  hook(revision == 'd' and HOOK_MESSAGE_DELETED or revision == 'e' and HOOK_MESSAGE_EDITED or HOOK_MESSAGE, ',"e":' .. entry)
end
local answer = '"id":"' .. message .. '","seq":' .. seq .. ',"at":' .. now
if repeatable then call('SET', repeatable, answer, 'PX', repeat_ms) end
if publisher then rest() end
return '{"n":' .. n .. ',"z":' .. room.generation .. ',"f":1,"d":0' .. (streams_in and ',"si":' .. streams_in or '') .. ',"e":"' .. room.epoch .. '",' .. answer .. '}'
