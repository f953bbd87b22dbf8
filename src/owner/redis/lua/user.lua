-- State and functions of the scripts of users. Of a user there are
--   key      a hash:
--            w     identity, as JSON                    p     1 while present, or absent for less than the grace period
--            b     start of the presence                s     status, if that is not online
--            l     last activity, if that is not now    g     absence: the node that waits for the return, and a number
--            r     rooms of ended connections           o     connections so far
--            n     number of the last presence update   t     end of the last presence
--   key:c    a sorted set: connections as "node:id", in their order
--   key:i    a set: rooms whose members received the presence, where only users with a common room receive it
--   key:q    a sorted set: ids of waiting direct messages, in order     key:d   a hash: these messages by id; "#": their bytes
--   key:r    a hash: registered names: "l" and the connection, or "p", the end, and the description of the device
--   key:k:ID  a string: the reach of a push with this idempotency key, empty while it is under way
--   key:p    a sorted set: the room list                    key:m   a sorted set: rooms that the user has made, by when they were known
--   key:a    a string: end of the minute of the REST quota, and requests in it
-- Arguments: 4 the audience of presence: "e" everyone, "r" users with a common room, "n" none, and, if the application has
-- endpoints, the kinds of hook events, as bits; 5 time that state of an absent
-- user is kept, in milliseconds; 0: no limit.
local connections_key, told_rooms_key, names_key = key .. ':c', key .. ':i', key .. ':r'
local waiting_key, directs_key = key .. ':q', key .. ':d'
local audience, keep_ms = string.sub(ARGV[4], 1, 1), tonumber(ARGV[5])
local hooks = tonumber(string.sub(ARGV[4], 2)) or 0
local prefix = string.match(key, '^(.-):user:{')
local node = string.match(origin, '^%d+')
local user

local function read()
  local v = call('HMGET', key, 'w', 'p', 's', 'l', 'g', 'r', 'n', 't', 'b')
  user = {
    identity = v[1], here = v[2], status = v[3] or 'online', last_active = v[4] and tonumber(v[4]), absence = v[5],
    parted_rooms = v[6], number = tonumber(v[7] or 0), last_seen = v[8], connected_at = v[9]
  }
end

-- Sets fields, or removes those that are false.
local function put(fields)
  for field, value in pairs(fields) do
    if value then call('HSET', key, field, value) else call('HDEL', key, field) end
  end
end

local function last_seen()
  return user.last_active or now
end

local function encoded_name()
  return cjson.encode(cjson.decode(user.identity)[1])
end

local function is_guest()
  return math.floor(cjson.decode(user.identity)[4] / 4) % 2 == 1
end

-- Adds an event for the application to the outbox, if an endpoint wants events of its kind. `data`: fields of JSON, or empty.
local function hook(kind, data)
  if hooks % (2 * kind) < kind then return end
  local event = '{"k":' .. kind .. ',"t":' .. now .. ',"u":' .. encoded_name() .. data .. '}'
  call('XADD', prefix .. ':hooks', 'MAXLEN', '~', HOOK_EVENTS_MAX, '*', 'e', event)
end

-- Reports the begin or end of a connection.
local function hook_connection(kind, id)
  hook(kind, ',"c":"' .. id .. '"')
end

-- Ids of the connections, oldest first, and the same as JSON lists by node.
local function connections()
  local ids, nodes = {}, {}
  for at, member in ipairs(call('ZRANGE', connections_key, 0, -1)) do
    local of, id = string.match(member, '^(%d+):(.*)$')
    ids[at] = id
    nodes[of] = (nodes[of] and nodes[of] .. ',' or '') .. '"' .. id .. '"'
  end
  return ids, nodes
end

-- Publishes a message for all connections to their nodes. Returns the number of connections.
local function hand(body)
  local ids, nodes = connections()
  for of, list in pairs(nodes) do
    call('PUBLISH', prefix .. ':node:{' .. of .. '}', '{"u":' .. encoded_name() .. body .. ',"c":[' .. list .. ']}')
  end
  return #ids
end

-- The presence as an update with the next number. Numbers grow even when the user's state was lost: they follow the clock of
-- Redis, because the clocks of nodes can differ.
local function news()
  local time = call('TIME')
  user.number = math.max(user.number + 1, time[1] * 1000 + math.floor(time[2] / 1000))
  put({n = user.number})
  local username = cjson.decode(user.identity)[2]
  return ',"n":' .. user.number .. ',"s":"' .. user.status .. '","l":' .. last_seen() .. ',"a":' .. (user.last_active and 0 or 1) ..
    (username ~= '' and ',"un":' .. cjson.encode(username) or '')
end

-- The presence, for the node of a connection that begins.
local function present()
  return ',"n":' .. user.number .. ',"s":"' .. user.status .. '","b":' .. (user.connected_at or now) ..
    (user.last_active and ',"l":' .. user.last_active or '')
end

-- Publishes the presence, except to one connection; where presence is not sent to anyone, to the nodes only.
local function tell(except)
  local body = news()
  if audience == 'n' then
    hand(body .. ',"q":1')
    return
  end
  if except and except ~= '' then body = body .. ',"x":"' .. except .. '"' end
  if audience == 'e' then
    call('PUBLISH', prefix .. ':everyone', '{"u":' .. encoded_name() .. body .. '}')
    return
  end
  hand(body)
  if user.parted_rooms then
    call('PUBLISH', prefix .. ':everyone', '{"u":' .. encoded_name() .. body .. ',"r":' .. user.parted_rooms .. '}')
  end
end

-- Sets the status, and the time of the last activity if that is given. Returns whether the status has changed.
local function say(status, given)
  local is_news = user.status ~= status
  if given then given = math.min(given, now) end
  if not given and status == 'online' then
    user.last_active = false
  elseif given or is_news then
    user.last_active = given or now
  end
  user.status = status
  put({s = status ~= 'online' and status, l = user.last_active})
  return is_news
end

-- Begins a presence.
local function begin(who)
  call('HDEL', key, 's', 'l', 'g', 'r')
  call('HSET', key, 'w', who, 'p', 1)
  call('PERSIST', key)
  call('DEL', told_rooms_key)
  user.identity, user.here, user.status = who, '1', 'online'
  user.last_active, user.absence, user.parted_rooms = false, false, false
end

-- Adds connections of this node. With the first of all, the user is online; `except` does not receive that.
local function come(ids, except)
  local count = call('ZCARD', connections_key)
  local is_first = count == 0 and not user.absence
  if count == 0 then
    put({b = now})
    user.connected_at = now
  end
  for _, id in ipairs(ids) do
    local is_new = call('ZADD', connections_key, 'NX', call('HINCRBY', key, 'o', 1), node .. ':' .. id)
    if is_new == 1 then hook_connection(HOOK_CONNECTION_OPENED, id) end
  end
  if user.status == 'online' then user.last_active = false end
  user.absence = false
  put({g = false, l = user.last_active})
  if is_first then
    hook(HOOK_USER_ONLINE, '')
    put({t = last_seen()})
    if audience ~= 'n' then tell(except) end
  end
end

-- Notes the rooms of a connection that has ended.
local function part(rooms)
  if #rooms == 0 then return end
  local known = user.parted_rooms and cjson.decode(user.parted_rooms) or {}
  local has = {}
  for _, room in ipairs(known) do has[room] = true end
  for _, room in ipairs(rooms) do
    if #known < PARTED_ROOMS and not has[room] then
      known[#known + 1], has[room] = room, true
    end
  end
  user.parted_rooms = cjson.encode(known)
  put({r = user.parted_rooms})
end

-- The last connection has ended, and the user can return: begins an absence, which this node ends after the grace period.
local function wait()
  user.last_active = last_seen()
  user.absence = node .. ':' .. call('HINCRBY', key, 'o', 1)
  put({l = user.last_active, g = user.absence})
  return '{"g":"' .. user.absence .. '"}'
end

-- The user goes offline; that is published unless the status was offline. The state of a guest is not needed any more, except
-- the number of the update, which must grow if the guest returns soon.
local function go()
  hook(HOOK_USER_OFFLINE, '')
  put({t = last_seen()})
  if say('offline', last_seen()) then tell() end
  call('DEL', connections_key, told_rooms_key)
  call('HDEL', key, 'p', 'b', 's', 'l', 'g', 'r')
  if is_guest() then
    call('HDEL', key, 'w', 't')
    call('PEXPIRE', key, GUEST_MS)
  elseif keep_ms > 0 then
    call('PEXPIRE', key, keep_ms)
  end
end

-- Removes a waiting message, which can be gone already. The hash of messages has their bytes under "#".
local function forget_direct(id)
  local bytes = call('HSTRLEN', directs_key, id)
  call('ZREM', waiting_key, id)
  if call('HDEL', directs_key, id) == 0 then return end
  if call('EXISTS', waiting_key) == 0 then
    call('DEL', directs_key)
  else
    call('HINCRBY', directs_key, '#', -bytes)
  end
end

-- Whether a message is too old to wait. Its time ends its text.
local function is_old(text)
  return not text or keep_ms > 0 and tonumber(string.match(string.sub(text, -24), '"at":(%d+)}$')) + keep_ms <= now
end

-- An answer in pieces with the presence, the first waiting direct messages, and other fields; removes messages that are too old.
local function waiting(fields)
  local texts, bytes, is_more = {}, 0, false
  for _, id in ipairs(call('ZRANGE', waiting_key, 0, WAITING_MESSAGES)) do
    local text = call('HGET', directs_key, id)
    if is_old(text) then
      forget_direct(id)
    else
      bytes = bytes + #text
      is_more = #texts == WAITING_MESSAGES or bytes > WAITING_BYTES and #texts > 0
      if is_more then break end
      texts[#texts + 1] = text
    end
  end
  local pieces = {'{"m":' .. (is_more and 1 or 0) .. present() .. fields .. ',"d":['}
  for at, text in ipairs(texts) do
    if at > 1 then pieces[#pieces + 1] = ',' end
    pieces[#pieces + 1] = text
  end
  pieces[#pieces + 1] = ']}'
  return pieces
end

-- The registered names and their number; removes those that have expired.
local function registered()
  local names, count = {}, 0
  local v = call('HGETALL', names_key)
  for at = 1, #v, 2 do
    local ends = string.match(v[at + 1], '^p(%d+)')
    if ends and tonumber(ends) <= now then
      call('HDEL', names_key, v[at])
    else
      names[v[at]] = v[at + 1]
      count = count + 1
    end
  end
  return names, count
end

-- Registers a name, or removes it. If no name has a connection, all of them expire together.
local function register(names, name, value)
  names[name] = value
  if value then call('HSET', names_key, name, value) else call('HDEL', names_key, name) end
  for _, known in pairs(names) do
    if string.sub(known, 1, 1) == 'l' then
      call('PERSIST', names_key)
      return
    end
  end
  call('PEXPIRE', names_key, PENDING_MS)
end

-- Removes the name of a connection ("node:id") that has ended.
local function unname(member)
  if call('EXISTS', names_key) == 0 then return end
  local names = registered()
  for name, value in pairs(names) do
    if value == 'l' .. member then
      register(names, name, nil)
      return
    end
  end
end
